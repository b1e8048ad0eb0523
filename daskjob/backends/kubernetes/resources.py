"""Kinds, and the paths of the API under which their objects are found. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from daskjob.core import names
from daskjob.core.errors import NotFound


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of objects, as the API speaks of it."""

    kind: str
    api_version: str
    plural: str
    #: Objects that are watched must match this; empty: all of the kind are ours to see.
    selector: str = ""
    #: Nobody looks into these objects: the API is asked for their metadata only.
    metadata_only: bool = False
    #: Nobody of us deletes one, or may: it goes with its owner, and since its name follows from
    #: that owner's there is never more than one.
    goes_with_owner: bool = False

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """Return the path of an object, or without a name of all in a namespace, or everywhere.

        Names may be a user's words (``clusterRef``): one that would lead elsewhere is not found.
        """
        # The core group alone has no name, and a path of its own.
        parts = ["/apis" if "/" in self.api_version else "/api", self.api_version]
        if namespace is not None:
            parts += ["namespaces", _segment(namespace)]
        parts.append(self.plural)
        if name:
            parts.append(_segment(name))
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


def _segment(text: str) -> str:
    if text in (".", ".."):
        raise NotFound(f"{text!r} is no name that an object can have")
    return quote(text, safe="")


#: What is ours among the kinds that everybody uses.
OURS = names.LABEL_CLUSTER_NAME

JOBS = Resource(str(names.Kind.JOB), names.API_VERSION, "daskjobs")
CLUSTERS = Resource(str(names.Kind.CLUSTER), names.API_VERSION, "daskclusters")
GROUPS = Resource(str(names.Kind.GROUP), names.API_VERSION, "daskworkergroups")
AUTOSCALERS = Resource(str(names.Kind.AUTOSCALER), names.API_VERSION, "daskautoscalers")
PODS = Resource("Pod", "v1", "pods", selector=OURS)
SERVICES = Resource(
    "Service", "v1", "services", selector=OURS, metadata_only=True, goes_with_owner=True
)
CONFIG_MAPS = Resource(
    "ConfigMap", "v1", "configmaps", selector=OURS, metadata_only=True, goes_with_owner=True
)
EVENTS = Resource("Event", "v1", "events")
LEASES = Resource("Lease", "coordination.k8s.io/v1", "leases")

#: What a pass may look at, owners first.
WATCHED = (JOBS, CLUSTERS, GROUPS, AUTOSCALERS, PODS, SERVICES, CONFIG_MAPS)

_BY_KIND = {resource.kind: resource for resource in (*WATCHED, EVENTS, LEASES)}


def resource_of(kind: str) -> Resource:
    """Return the resource of a kind that daskjob uses.

    Raises
    ------
    NotFound
        daskjob has nothing to do with this kind.
    """
    found = _BY_KIND.get(kind)
    if found is None:
        raise NotFound(f"daskjob knows no kind {kind!r}")
    return found
