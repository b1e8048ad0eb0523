"""The part of an object's metadata that decisions need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from daskjob.core import names
from daskjob.core.fields import Reader
from daskjob.core.manifests import DEEPEST_LEVELS, Manifest, ObjectRef, is_too_deep, parse_time
from daskjob.core.shapes import Rule, Text

#: Checked only at creation: an object that is older than this rule must stay deletable, and
#: removing a finalizer is an update too.
NAME = Rule(
    f"oldSelf.hasValue() || (self.metadata.name.size() <= {names.NAME_LIMIT}"
    f" && self.metadata.name.matches('^{names.NAME_PATTERN.pattern}$'))",
    f"write a name of {names.NAME_RULE}",
    ".metadata.name",
    at_creation=True,
)


@dataclass(frozen=True, slots=True)
class Meta:
    """Name, identity and age of one of our objects."""

    kind: str
    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None
    #: A deletionTimestamp is set: its children are deleted with it; passes do nothing more.
    deleting: bool = False
    owner_kind: str = ""
    owner_name: str = ""
    owner_uid: str = ""
    #: All owners, including those that others set; the three fields above are the controller's.
    owner_references: tuple[Manifest, ...] = ()
    finalizers: tuple[str, ...] = ()

    @property
    def ref(self) -> ObjectRef:
        """The reference to this object; its uid is the precondition of writes."""
        return ObjectRef(self.kind, self.namespace, self.name, self.uid)


def name_of(kind: str, name: str, description: str, *, required: bool = True) -> Text:
    """Return the field that names an object of one of our kinds in the same namespace."""
    return Text(
        name,
        description,
        required=f"write the name of a {kind} in this namespace" if required else "",
        longest=names.NAME_LIMIT,
        pattern=names.NAME_PATTERN,
        message=f"write a name of {names.NAME_RULE}",
    )


def read_meta(manifest: Reader, kind: str) -> Meta:
    """Return the metadata of a manifest; records a missing or invalid name.

    ``generateName`` will do instead: the API server, or the local run, makes a name from it.
    """
    reader = manifest.mapping("metadata")
    name = reader.text("name")
    prefix = reader.text("generateName")
    if not name and not prefix:
        reader.mistake("name", None, f"write a name of {names.NAME_RULE}")
    elif name and not names.is_valid_name(name):
        reader.mistake("name", name, f"write a name of {names.NAME_RULE}")
    elif not name and not names.is_valid_name(prefix + "x"):
        reader.mistake("generateName", prefix, f"write a prefix for names of {names.NAME_RULE}")
    owners = list(reader.items("ownerReferences"))
    controllers = [owner for owner in owners if owner.boolean("controller")]
    owner = controllers[0] if controllers else Reader(None, "", [])
    finalizers = reader.fields.get("finalizers")
    return Meta(
        kind=kind,
        name=name,
        namespace=reader.text("namespace") or "default",
        uid=reader.text("uid"),
        generation=reader.integer("generation") or 0,
        resource_version=reader.text("resourceVersion"),
        labels=reader.strings("labels"),
        annotations=reader.strings("annotations"),
        created_at=parse_time(reader.text("creationTimestamp")),
        deleting=bool(reader.text("deletionTimestamp")),
        owner_kind=owner.text("kind"),
        owner_name=owner.text("name"),
        owner_uid=owner.text("uid"),
        owner_references=tuple(dict(owner.fields) for owner in owners),
        finalizers=tuple(map(str, finalizers)) if isinstance(finalizers, list) else (),
    )


def read_kind(manifest: Reader, kind: str) -> None:
    """Record a wrong kind or version, and a spec that is nested too deep to walk through."""
    if manifest.text("kind") != kind:
        manifest.mistake("kind", manifest.fields.get("kind"), f"write {kind}")
    if manifest.text("apiVersion") != names.API_VERSION:
        found = manifest.fields.get("apiVersion")
        manifest.mistake("apiVersion", found, f"write {names.API_VERSION}")
    if is_too_deep(manifest.fields.get("spec")):
        allowed = f"nest at most {DEEPEST_LEVELS} mappings and lists"
        manifest.mistake("spec", "deeper nesting", allowed)
