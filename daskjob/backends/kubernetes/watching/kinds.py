"""The kinds that the operator watches: selectors, and how much of each object."""

from __future__ import annotations

from dataclasses import dataclass

from daskjob.core import names
from daskjob.core.errors import NotFound
from daskjob.kube import resources
from daskjob.kube.resources import Resource, Selection


@dataclass(frozen=True, slots=True)
class Watched:
    """One watched kind."""

    resource: Resource
    #: The label selector of the objects that are watched; empty: all of the kind.
    selector: str = ""
    #: Only metadata is requested: nothing reads more of these objects.
    metadata_only: bool = False
    #: The operator never deletes these, and has no permission to. They are garbage collected with
    #: their owner; since the name follows from the owner's, there is never more than one.
    goes_with_owner: bool = False

    @property
    def kind(self) -> str:
        """The kind's name."""
        return self.resource.kind

    def within(self, namespace: str | None) -> Selection:
        """Return the selection of the watched objects in a namespace, or in all."""
        return Selection(
            self.resource, namespace, labels=self.selector, metadata_only=self.metadata_only
        )


#: The label that selects daskjob's objects among Pods, Services and ConfigMaps.
OURS = names.LABEL_CLUSTER_NAME

JOBS = Watched(resources.JOBS)
CLUSTERS = Watched(resources.CLUSTERS)
GROUPS = Watched(resources.GROUPS)
AUTOSCALERS = Watched(resources.AUTOSCALERS)
PODS = Watched(resources.PODS, OURS)
SERVICES = Watched(resources.SERVICES, OURS, metadata_only=True, goes_with_owner=True)
CONFIG_MAPS = Watched(resources.CONFIG_MAPS, OURS, metadata_only=True, goes_with_owner=True)

#: All watched kinds, owners first.
WATCHED = (JOBS, CLUSTERS, GROUPS, AUTOSCALERS, PODS, SERVICES, CONFIG_MAPS)

_BY_KIND = {watched.kind: watched for watched in WATCHED}


def watched_kind(kind: str) -> Watched:
    """Return the watched kind of this name.

    Raises
    ------
    NotFound
        The operator does not watch this kind.
    """
    found = _BY_KIND.get(kind)
    if found is None:
        raise NotFound(f"daskjob does not watch kind {kind!r}")
    return found
