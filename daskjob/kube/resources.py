"""Kinds, the API paths of their objects, and selections of them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from daskjob.core import names
from daskjob.core.errors import NotFound
from daskjob.core.manifests import ObjectRef


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind, as the API names it."""

    kind: str
    api_version: str
    plural: str
    #: Requests for these bypass the queue and the check before writes: they decide who leads, and a
    #: leader whose renewal waits behind a thousand pods loses its Lease.
    urgent: bool = False

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """Return the path of an object; without a name, of all in a namespace or in all namespaces.

        A name may come from a user (``clusterRef``): one that would leave the path is ``NotFound``.
        """
        # Only the core group has no name; it is served under /api.
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
        raise NotFound(f"{text!r} is not a valid object name")
    return quote(text, safe="")


@dataclass(frozen=True, slots=True)
class Selection:
    """The objects that a list or watch selects, and how much of each it returns."""

    resource: Resource
    #: ``None``: all namespaces.
    namespace: str | None = None
    #: Label and field selectors in kubectl's syntax; empty: no restriction.
    labels: str = ""
    fields: str = ""
    #: Return only the objects' metadata.
    metadata_only: bool = False

    def __str__(self) -> str:
        where = f"in namespace {self.namespace}" if self.namespace else "in all namespaces"
        chosen = ", ".join(filter(None, (self.labels, self.fields)))
        return f"{self.resource.plural} {where}" + (f" ({chosen})" if chosen else "")

    @property
    def path(self) -> str:
        """The API path."""
        return self.resource.path(self.namespace)

    @property
    def query(self) -> dict[str, str]:
        """The query parameters."""
        selectors = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {name: value for name, value in selectors.items() if value}


def selection_of(ref: ObjectRef) -> Selection:
    """Return the selection of a single object by its name."""
    return Selection(resource_of(ref.kind), ref.namespace, fields=f"metadata.name={ref.name}")


JOBS = Resource(str(names.Kind.JOB), names.API_VERSION, "daskjobs")
CLUSTERS = Resource(str(names.Kind.CLUSTER), names.API_VERSION, "daskclusters")
GROUPS = Resource(str(names.Kind.GROUP), names.API_VERSION, "daskworkergroups")
AUTOSCALERS = Resource(str(names.Kind.AUTOSCALER), names.API_VERSION, "daskautoscalers")
PODS = Resource("Pod", "v1", "pods")
SERVICES = Resource("Service", "v1", "services")
CONFIG_MAPS = Resource("ConfigMap", "v1", "configmaps")
SECRETS = Resource("Secret", "v1", "secrets")
EVENTS = Resource("Event", "v1", "events")
NETWORK_POLICIES = Resource("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies")
DEPLOYMENTS = Resource("Deployment", "apps/v1", "deployments")
DISRUPTION_BUDGETS = Resource("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets")
LEASES = Resource("Lease", "coordination.k8s.io/v1", "leases", urgent=True)

_ALL = (
    *(JOBS, CLUSTERS, GROUPS, AUTOSCALERS, PODS, SERVICES, CONFIG_MAPS, SECRETS, EVENTS, LEASES),
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
)
_BY_KIND = {resource.kind: resource for resource in _ALL}


def resource_of(kind: str) -> Resource:
    """Return the resource of a kind that daskjob uses.

    Raises
    ------
    NotFound
        daskjob does not use this kind.
    """
    found = _BY_KIND.get(kind)
    if found is None:
        raise NotFound(f"daskjob does not use kind {kind!r}")
    return found
