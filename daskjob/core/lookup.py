"""Lookups of a pass: the objects of one namespace, by name, by owner, by cluster.

The cost of a lookup must depend only on the number of results: a pass over one job among ten
thousand must not walk the others. A backend with a handful of objects may walk them all
(``ListLookup``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

from daskjob.core import names
from daskjob.core.manifests import (
    Manifest,
    ObjectRef,
    controller_uid,
    mapping,
    metadata,
    object_ref,
)
from daskjob.core.parsed import parsed_pod
from daskjob.core.pods import PodFacts

#: Kinds whose objects may still occupy names of a cluster that is gone.
ORPHAN_KINDS = ("Pod", "Service", str(names.Kind.GROUP))
#: Kinds whose children are leftovers once the owner is gone.
CLUSTER_KINDS = (str(names.Kind.CLUSTER), str(names.Kind.GROUP))


class Lookup(Protocol):
    """The objects of one namespace. The controller owner's uid decides the owner of an object."""

    def named(self, kind: str, name: str) -> Manifest | None:
        """Return the object of one of our four kinds that has this name."""
        ...

    def controlled(self, kind: str, owner_uid: str) -> Sequence[Manifest]:
        """Return the objects of one of our four kinds that an owner controls."""
        ...

    def referring_to(self, kind: str, cluster: str) -> Sequence[Manifest]:
        """Return the jobs, groups or autoscalers whose spec names an existing cluster."""
        ...

    def pods(self, owner_uid: str) -> Sequence[PodFacts]:
        """Return the pods that an owner controls."""
        ...

    def references(self, kind: str, owner_uid: str) -> Sequence[ObjectRef]:
        """Return references to the Services or ConfigMaps that an owner controls."""
        ...

    def labelled_runners(self, cluster: str) -> Sequence[PodFacts]:
        """Return the pods that are labelled as runners on a cluster of this name."""
        ...

    def labelled_schedulers(self, cluster: str) -> Sequence[PodFacts]:
        """Return the pods that are labelled as schedulers of a cluster of this name."""
        ...

    def orphans(self, cluster: str) -> Sequence[ObjectRef]:
        """Return objects labelled with a cluster's name whose owner is gone.

        Only those that a DaskCluster or a DaskWorkerGroup controlled: garbage collection will
        remove them.
        """
        ...


def _referred_cluster(manifest: Manifest) -> object:
    spec = mapping(manifest.get("spec"))
    if manifest.get("kind") == names.Kind.JOB:
        return mapping(spec.get("clusterRef")).get("name")
    return spec.get("cluster")


class ListLookup:
    """A list of objects, walked at each lookup: for the backend of one run, and for tests."""

    def __init__(self, objects: Iterable[Manifest]) -> None:
        self._by_kind: dict[str, list[Manifest]] = defaultdict(list)
        for item in objects:
            self._by_kind[str(item.get("kind", ""))].append(item)

    def _of_kind(self, kind: str) -> Sequence[Manifest]:
        return self._by_kind.get(kind, ())

    def named(self, kind: str, name: str) -> Manifest | None:
        """Return the object of a kind and name."""
        return next((o for o in self._of_kind(kind) if metadata(o).get("name") == name), None)

    def controlled(self, kind: str, owner_uid: str) -> Sequence[Manifest]:
        """Return the objects of a kind whose controller owner has this uid."""
        return [o for o in self._of_kind(kind) if owner_uid and controller_uid(o) == owner_uid]

    def referring_to(self, kind: str, cluster: str) -> Sequence[Manifest]:
        """Return the objects of a kind whose spec names a cluster."""
        return [o for o in self._of_kind(kind) if _referred_cluster(o) == cluster]

    def pods(self, owner_uid: str) -> Sequence[PodFacts]:
        """Return the facts of the pods whose controller owner has this uid."""
        return [parsed_pod(pod) for pod in self.controlled("Pod", owner_uid)]

    def references(self, kind: str, owner_uid: str) -> Sequence[ObjectRef]:
        """Return references to the objects whose controller owner has this uid."""
        return [object_ref(item) for item in self.controlled(kind, owner_uid)]

    def labelled_runners(self, cluster: str) -> Sequence[PodFacts]:
        """Return the facts of the pods that are labelled as runners on this cluster."""
        return self._labelled(cluster, names.Component.RUNNER)

    def labelled_schedulers(self, cluster: str) -> Sequence[PodFacts]:
        """Return the facts of the pods that are labelled as this cluster's schedulers."""
        return self._labelled(cluster, names.Component.SCHEDULER)

    def _labelled(self, cluster: str, component: str) -> Sequence[PodFacts]:
        label = names.label_value(cluster)
        wanted = {names.LABEL_CLUSTER_NAME: label, names.LABEL_COMPONENT: component}
        return [
            parsed_pod(pod)
            for pod in self._of_kind("Pod")
            if wanted.items() <= (metadata(pod).get("labels") or {}).items()
        ]

    def orphans(self, cluster: str) -> Sequence[ObjectRef]:
        """Return objects of this cluster's name whose controlling cluster or group is gone."""
        live = {object_ref(o).uid for kind in CLUSTER_KINDS for o in self._of_kind(kind)}
        label = names.label_value(cluster)
        return [
            object_ref(item)
            for kind in ORPHAN_KINDS
            for item in self._of_kind(kind)
            if (metadata(item).get("labels") or {}).get(names.LABEL_CLUSTER_NAME) == label
            and any(
                owner.get("controller")
                and owner.get("kind") in CLUSTER_KINDS
                and owner.get("uid") not in live
                for owner in metadata(item).get("ownerReferences") or ()
            )
        ]
