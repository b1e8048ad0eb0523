"""An object's metadata, as far as a decision needs it. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from daskjob.core import names
from daskjob.core.fields import Reader
from daskjob.core.manifests import DEEPEST_LEVELS, Manifest, ObjectRef, is_too_deep, parse_time
from daskjob.core.shapes import Rule, Text

#: A name is judged once, when the object is made: one that was made before this rule was there
#: must not be kept from being deleted by it, since taking a finalizer off is an update too.
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
    #: A deletionTimestamp is set: its children go with it, nothing more is to be done.
    deleting: bool = False
    owner_kind: str = ""
    owner_name: str = ""
    owner_uid: str = ""
    #: Every owner, whoever wrote it there; the three above are of the controller among them.
    owner_references: tuple[Manifest, ...] = ()
    finalizers: tuple[str, ...] = ()

    @property
    def ref(self) -> ObjectRef:
        """The reference to this object, with its uid as the precondition of writes."""
        return ObjectRef(self.kind, self.namespace, self.name, self.uid)


def name_of(kind: str, name: str, description: str, *, required: bool = True) -> Text:
    """Return the field that names an object of one of our kinds, of the same namespace."""
    return Text(
        name,
        description,
        required=f"write the name of a {kind} of the namespace" if required else "",
        longest=names.NAME_LIMIT,
        pattern=names.NAME_PATTERN,
        says=f"write a name of {names.NAME_RULE}",
    )


def read_meta(manifest: Reader, kind: str) -> Meta:
    """Return the metadata of a manifest; notes a missing or impossible name.

    A ``generateName`` stands for a name: the API, or the local run, makes one of it.
    """
    reader = manifest.mapping("metadata")
    name = reader.text("name")
    prefix = reader.text("generateName")
    if not name and not prefix:
        reader.mistake("name", None, f"write a name: {names.NAME_RULE}")
    elif name and not names.is_valid_name(name):
        reader.mistake("name", name, names.NAME_RULE)
    elif not name and not names.is_valid_name(prefix + "x"):
        reader.mistake("generateName", prefix, f"a prefix of: {names.NAME_RULE}")
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
    """Note a manifest that is of another kind or version, or that nobody can walk through."""
    if manifest.text("kind") != kind:
        manifest.mistake("kind", manifest.fields.get("kind"), f"write {kind}")
    if manifest.text("apiVersion") != names.API_VERSION:
        found = manifest.fields.get("apiVersion")
        manifest.mistake("apiVersion", found, f"write {names.API_VERSION}")
    if is_too_deep(manifest.fields.get("spec")):
        allowed = f"write no more than {DEEPEST_LEVELS} mappings and lists within each other"
        manifest.mistake("spec", "what is nested deeper", allowed)
