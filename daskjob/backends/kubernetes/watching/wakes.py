"""Which passes to wake after a change.

A pass over a job looks at its cluster, groups and pods; one over a cluster at its groups, pods and
autoscalers and at the runners that use it; one over a group at its cluster and pods; one over an
autoscaler at its cluster, its group and competing autoscalers. So a change wakes the owners, and
the objects related by the cluster's name, by label or reference. Waking too many costs passes that
do nothing; waking too few would leave work undone indefinitely.
"""

from __future__ import annotations

from collections.abc import Iterator

from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.watching.items import Item
from daskjob.core import names
from daskjob.core.backend import Wake
from daskjob.core.manifests import Key

#: For its cluster and its job, a change of a worker only affects a count. Workers change by the
#: dozen, so one delayed pass sees the changes of many. With more workers a pass takes longer and
#: more changes are coming, so the delay grows with their number.
SOON_SECONDS = 0.25
SOON_SECONDS_A_WORKER = 0.001


class Wakes:
    """Calls ``wake`` for each change in the cache, with the keys of the passes that may see it."""

    def __init__(self, cache: Cache, wake: Wake) -> None:
        self._cache = cache
        self._wake = wake

    def changed(self, old: Item | None, new: Item | None) -> None:
        """Wake every pass that may see a change, once."""
        if old is not None and new is not None and _is_the_same_to_all(old, new):
            return
        worker, loss = _is_worker(new or old), _is_loss(new)
        soon = self._soon(new or old)
        for key in {key for item in _states(old, new) for key in self._seen_by(item)}:
            # Its group replaces a lost worker at once.
            at_once = not worker or (loss and key.kind == names.Kind.GROUP)
            self._wake(key, 0.0 if at_once else soon)

    def scheduler_changed(self, cluster: Item) -> None:
        """Wake every pass that may see a new answer of a cluster's scheduler."""
        below = self._cache.controlled(cluster.ref.namespace, cluster.ref.uid)
        for key in {*self._seen_by(cluster), *(_key(item) for item in below if _has_passes(item))}:
            self._wake(key)

    def warnings_changed(self, pod: Item) -> None:
        """Wake every pass that may see new warnings about a pod."""
        for key in set(self._seen_by(pod)):
            self._wake(key)

    def rejected(self, owner: Key) -> None:
        """Wake the passes over all owners of this object after a rejection: it may end them."""
        item = self._cache.get(owner.kind, owner.namespace, owner.name)
        for key in {*self._owners(item)} if item else ():
            self._wake(key)

    def _soon(self, item: Item | None) -> float:
        """Return the delay in seconds of passes after a change of a worker."""
        workers = self._cache.count_labelled(item.ref.namespace, item.cluster) if item else 0
        return max(SOON_SECONDS, workers * SOON_SECONDS_A_WORKER)

    def _seen_by(self, item: Item) -> Iterator[Key]:
        """Yield the keys of the objects whose passes look at this one."""
        namespace = item.ref.namespace
        if _has_passes(item):
            yield _key(item)
        yield from self._owners(item)
        for cluster in {item.cluster, _cluster_of(item)} - {""}:
            for kind in (names.Kind.JOB, names.Kind.CLUSTER):
                if self._cache.get(kind, namespace, cluster):
                    yield Key(kind, namespace, cluster)
            if item.ref.kind != "Pod" or item.pod is None or item.pod.component == "scheduler":
                yield from map(_key, self._cache.referring_to(namespace, cluster))
            else:
                # A worker does not affect other groups.
                yield from self._jobs_on(namespace, cluster)

    def _jobs_on(self, namespace: str, cluster: str) -> Iterator[Key]:
        """Yield the jobs that run on an existing cluster (``clusterRef``)."""
        for item in self._cache.referring_to(namespace, cluster):
            if item.ref.kind == names.Kind.JOB:
                yield _key(item)

    def _owners(self, item: Item) -> Iterator[Key]:
        seen: set[str] = set()
        owner = self._cache.owner(item)
        # Hand-written ownerReferences may form a cycle.
        while owner is not None and owner.ref.uid not in seen:
            seen.add(owner.ref.uid)
            if _has_passes(owner):
                yield _key(owner)
            owner = self._cache.owner(owner)


def _has_passes(item: Item) -> bool:
    return item.ref.kind in names.PASS_KINDS


def _key(item: Item) -> Key:
    return Key(item.ref.kind, item.ref.namespace, item.ref.name)


def _states(old: Item | None, new: Item | None) -> list[Item]:
    """Return the old and the new state of an object; only the new if the same passes see both."""
    if old is not None and new is not None and _place(old) == _place(new):
        return [new]
    return [item for item in (old, new) if item is not None]


def _place(item: Item) -> tuple[str, ...]:
    """Return the fields that decide which passes see an object."""
    component = item.pod.component if item.pod else ""
    return (item.ref.uid, item.owner_uid, item.cluster, item.cluster_ref, component)


def _is_the_same_to_all(old: Item, new: Item) -> bool:
    """Return whether a change is only in fields of a pod that no pass reads."""
    return old.pod is not None and old.pod == new.pod and old.cluster == new.cluster


def _is_worker(item: Item | None) -> bool:
    return item is not None and item.pod is not None and item.pod.component == "worker"


def _is_loss(now: Item | None) -> bool:
    """Return whether a pod is gone, terminating or ended."""
    return now is None or now.deleting or (now.pod is not None and now.pod.ended)


def _cluster_of(item: Item) -> str:
    """Return the name of the cluster that an object is, or refers to."""
    return item.ref.name if item.ref.kind == names.Kind.CLUSTER else item.cluster_ref
