"""The kinds that the operator watches: which of their objects, and how much of each."""

from __future__ import annotations

from dataclasses import dataclass

from daskjob.core import names
from daskjob.core.errors import NotFound
from daskjob.kube import resources
from daskjob.kube.resources import Resource, Selection


@dataclass(frozen=True, slots=True)
class Watched:
    """One kind of objects, as the operator looks at it."""

    resource: Resource
    #: The label selector of the objects that are watched; empty: all of the kind.
    selector: str = ""
    #: Nothing reads these objects: the API is asked for their metadata only.
    metadata_only: bool = False
    #: The operator never deletes one, and has no right to. It is garbage collected with its owner,
    #: and since its name follows from the owner's there is never more than one.
    goes_with_owner: bool = False

    @property
    def kind(self) -> str:
        """The kind's name."""
        return self.resource.kind

    def within(self, namespace: str | None) -> Selection:
        """Return the objects that are watched in a namespace, or in all."""
        return Selection(
            self.resource, namespace, labels=self.selector, metadata_only=self.metadata_only
        )


#: The label of daskjob's objects among the kinds that everybody uses.
OURS = names.LABEL_CLUSTER_NAME

JOBS = Watched(resources.JOBS)
CLUSTERS = Watched(resources.CLUSTERS)
GROUPS = Watched(resources.GROUPS)
AUTOSCALERS = Watched(resources.AUTOSCALERS)
PODS = Watched(resources.PODS, OURS)
SERVICES = Watched(resources.SERVICES, OURS, metadata_only=True, goes_with_owner=True)
CONFIG_MAPS = Watched(resources.CONFIG_MAPS, OURS, metadata_only=True, goes_with_owner=True)

#: What a pass may look at, owners first.
WATCHED = (JOBS, CLUSTERS, GROUPS, AUTOSCALERS, PODS, SERVICES, CONFIG_MAPS)

_BY_KIND = {watched.kind: watched for watched in WATCHED}


def watched_kind(kind: str) -> Watched:
    """Return how the operator looks at objects of a kind.

    Raises
    ------
    NotFound
        It does not watch this kind.
    """
    found = _BY_KIND.get(kind)
    if found is None:
        raise NotFound(f"daskjob watches no objects of kind {kind!r}")
    return found
