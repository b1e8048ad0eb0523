"""The cache: every object that daskjob watches, indexed by name, by owner and by cluster.

Informers and the responses to our own requests write to it, in any order. One rule decides: a
higher resourceVersion is newer, and nothing older ever replaces it. It holds for deletions too: the
version of a deleted object is remembered for 2 minutes, and only a newer state can bring it back.

The cost of a lookup depends on the size of its result only, not on that of the cache.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import TypeVar

from daskjob.backends.kubernetes.watching.items import Item
from daskjob.core import names
from daskjob.core.lookup import CLUSTER_KINDS, ORPHAN_KINDS
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.core.pods import PodFacts

_Key = TypeVar("_Key", bound=Hashable)

#: Called with the old and the new state of each change; ``None``: absent. Must be quick.
Sink = Callable[[Item | None, Item | None], None]

_NOTHING: Mapping[str, Item] = {}

#: The version of an object that cannot come back, whatever is reported later.
FOR_GOOD = 2**63
#: A late response (30 s) or a watch that was silent (75 s) may still report an object that is gone.
REMEMBERED_SECONDS = 120.0

_Items = dict[str, Item]


def _items_by_key() -> defaultdict[str, _Items]:
    return defaultdict(dict)


class Cache:
    """Objects of all watched kinds and namespaces."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sinks: list[Sink] = []
        #: By kind, then by namespace, then by name.
        self._named: defaultdict[str, defaultdict[str, _Items]] = defaultdict(_items_by_key)
        self._by_uid: _Items = {}
        #: By namespace and owner's uid, and by namespace and cluster's name; then by uid. The uid
        #: alone is not enough: an ownerReference may contain one of another namespace.
        self._controlled: defaultdict[tuple[str, str], _Items] = defaultdict(dict)
        self._labelled: defaultdict[tuple[str, str], _Items] = defaultdict(dict)
        #: By namespace and name of the cluster that a job's, group's or autoscaler's spec names.
        self._referring_to: defaultdict[tuple[str, str], _Items] = defaultdict(dict)
        #: By uid: the version at which the object was gone, and when that was recorded.
        self._gone: dict[str, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._by_uid)

    def watch(self, sink: Sink) -> None:
        """Call the sink after every change from now on."""
        self._sinks.append(sink)

    # Lookups

    def get(self, kind: str, namespace: str, name: str) -> Item | None:
        """Return the object of this name."""
        return self._named[kind].get(namespace, _NOTHING).get(name)

    def of_uid(self, uid: str) -> Item | None:
        """Return the object of this uid."""
        return self._by_uid.get(uid)

    def all(self, kind: str, namespace: str | None = None) -> list[Item]:
        """Return all objects of a kind, of one namespace or of all."""
        spaces = self._named[kind]
        if namespace is not None:
            return list(spaces.get(namespace, _NOTHING).values())
        return [item for found in spaces.values() for item in found.values()]

    def controlled(self, namespace: str, owner_uid: str) -> list[Item]:
        """Return all objects that an owner controls: Kubernetes has no owners across namespaces."""
        return list(self._controlled.get((namespace, owner_uid), _NOTHING).values())

    def owner(self, item: Item) -> Item | None:
        """Return the object that controls this one; ``None`` if its namespace has none such."""
        found = self._by_uid.get(item.owner_uid)
        return found if found and found.ref.namespace == item.ref.namespace else None

    def labelled(self, namespace: str, cluster: str) -> list[Item]:
        """Return all objects that are labelled with a cluster's name."""
        where = (namespace, names.label_value(cluster))
        return list(self._labelled.get(where, _NOTHING).values())

    def count_labelled(self, namespace: str, cluster: str) -> int:
        """Return the number of objects that are labelled with a cluster's name."""
        return len(self._labelled.get((namespace, names.label_value(cluster)), _NOTHING))

    def referring_to(self, namespace: str, cluster: str) -> list[Item]:
        """Return the jobs, groups and autoscalers whose spec names a cluster."""
        return list(self._referring_to.get((namespace, cluster), _NOTHING).values())

    def objects(self, namespace: str) -> CachedLookup:
        """Return the lookup of a namespace for a pass."""
        return CachedLookup(self, namespace)

    def knows(self, uid: str, version: int) -> bool:
        """Return whether the cache has this version of an object, or a newer one, or its deletion.

        If so, an event of this version changes nothing.
        """
        cached = self._by_uid.get(uid)
        return version <= (cached.version if cached else self._gone.get(uid, (-1, 0.0))[0])

    def is_gone_for_good(self, uid: str) -> bool:
        """Return whether an object was deleted by us, or is known not to exist."""
        return self._gone.get(uid, (0, 0.0))[0] == FOR_GOOD

    # Changes

    def put(self, item: Item) -> bool:
        """Store a state of an object if it is newer; return whether it was."""
        gone_at, _ = self._gone.get(item.ref.uid, (-1, 0.0))
        if item.version <= gone_at:
            return False
        ref = item.ref
        old = self.get(ref.kind, ref.namespace, ref.name)
        if old is not None and old.version >= item.version:
            return False
        if old is not None and old.ref.uid != ref.uid:
            # The previous object of this name was deleted, and no event reported it.
            self.remove(old.ref, item.version)
            old = None
        self._gone.pop(ref.uid, None)
        self._unlink(old)
        self._link(item)
        self._notify(old, item)
        return True

    def remove(self, ref: ObjectRef, version: int = FOR_GOOD) -> bool:
        """Remove the object of this uid, as of a version at which it was gone.

        A later ``put`` must be newer. ``FOR_GOOD`` is for our own deletes that were answered. With
        another version the object may return: it may only have lost its label.
        """
        self._remember_gone(ref.uid, version)
        old = self._by_uid.get(ref.uid)
        if old is None or old.version > version:
            return False
        self._unlink(old)
        self._notify(old, None)
        return True

    def keep_only(
        self, kind: str, namespace: str | None, uids: Collection[str], version: int
    ) -> None:
        """Remove objects that are missing from a list of this version, unless they are newer."""
        for item in self.all(kind, namespace):
            if item.ref.uid not in uids and item.version <= version:
                self.remove(item.ref, version)

    def _link(self, item: Item) -> None:
        ref = item.ref
        self._named[ref.kind][ref.namespace][ref.name] = item
        self._by_uid[ref.uid] = item
        if item.owner_uid:
            self._controlled[ref.namespace, item.owner_uid][ref.uid] = item
        if item.cluster:
            self._labelled[ref.namespace, item.cluster][ref.uid] = item
        if item.cluster_ref:
            self._referring_to[ref.namespace, item.cluster_ref][ref.uid] = item

    def _unlink(self, item: Item | None) -> None:
        if item is None:
            return
        ref = item.ref
        _discard(self._named[ref.kind], ref.namespace, ref.name)
        del self._by_uid[ref.uid]
        _discard(self._controlled, (ref.namespace, item.owner_uid), ref.uid)
        _discard(self._labelled, (ref.namespace, item.cluster), ref.uid)
        _discard(self._referring_to, (ref.namespace, item.cluster_ref), ref.uid)

    def _remember_gone(self, uid: str, version: int) -> None:
        before, _ = self._gone.pop(uid, (-1, 0.0))
        self._gone[uid] = (max(before, version), self._clock())
        self._forget_gone()

    def _forget_gone(self) -> None:
        """Discard the versions of objects that were deleted long ago."""
        now = self._clock()
        # In order of deletion.
        while self._gone:
            oldest = next(iter(self._gone))
            if now - self._gone[oldest][1] < REMEMBERED_SECONDS:
                return
            del self._gone[oldest]

    def tidy(self) -> None:
        """Discard records of objects deleted long ago, and free their memory.

        A dictionary never shrinks by itself: after many deletions it stays as large as before.
        """
        self._forget_gone()
        self._gone, self._by_uid = dict(self._gone), dict(self._by_uid)
        for of_kind in self._named.values():
            of_kind.update({namespace: dict(items) for namespace, items in of_kind.items()})
        self._controlled = defaultdict(dict, self._controlled)
        self._labelled = defaultdict(dict, self._labelled)
        self._referring_to = defaultdict(dict, self._referring_to)

    def _notify(self, old: Item | None, new: Item | None) -> None:
        for sink in self._sinks:
            sink(old, new)


def _discard(index: dict[_Key, _Items], key: _Key, below: str) -> None:
    """Remove an entry from an index, and its key too if no entry is left there."""
    found = index.get(key)
    if found is not None:
        found.pop(below, None)
        if not found:
            del index[key]


class CachedLookup:
    """One namespace of the cache, as ``core.lookup.Lookup``."""

    def __init__(self, cache: Cache, namespace: str) -> None:
        self._cache = cache
        self._namespace = namespace

    def named(self, kind: str, name: str) -> Manifest | None:
        """Return the object of a kind and name."""
        found = self._cache.get(kind, self._namespace, name)
        return found.manifest if found else None

    def controlled(self, kind: str, owner_uid: str) -> Sequence[Manifest]:
        """Return the objects of a kind whose controller owner has this uid."""
        return [item.manifest for item in self._owned(kind, owner_uid) if item.manifest]

    def referring_to(self, kind: str, cluster: str) -> Sequence[Manifest]:
        """Return the groups, or the autoscalers, whose spec names a cluster."""
        found = self._cache.referring_to(self._namespace, cluster)
        return [item.manifest for item in found if item.ref.kind == kind and item.manifest]

    def pods(self, owner_uid: str) -> Sequence[PodFacts]:
        """Return the pods whose controller owner has this uid."""
        return [item.pod for item in self._owned("Pod", owner_uid) if item.pod]

    def references(self, kind: str, owner_uid: str) -> Sequence[ObjectRef]:
        """Return references to the objects whose controller owner has this uid."""
        return [item.ref for item in self._owned(kind, owner_uid)]

    def labelled_runners(self, cluster: str) -> Sequence[PodFacts]:
        """Return the pods that are labelled as runners on a cluster of this name."""
        return self._labelled(cluster, names.Component.RUNNER)

    def labelled_schedulers(self, cluster: str) -> Sequence[PodFacts]:
        """Return the pods that are labelled as schedulers of a cluster of this name."""
        return self._labelled(cluster, names.Component.SCHEDULER)

    def _labelled(self, cluster: str, component: str) -> Sequence[PodFacts]:
        return [
            item.pod
            for item in self._cache.labelled(self._namespace, cluster)
            if item.pod and item.pod.component == component
        ]

    def orphans(self, cluster: str) -> Sequence[ObjectRef]:
        """Return objects of this cluster's name whose controlling cluster or group is gone."""
        return [
            item.ref
            for item in self._cache.labelled(self._namespace, cluster)
            if item.owner_kind in CLUSTER_KINDS
            and item.ref.kind in ORPHAN_KINDS
            and not self._is_of_a_cluster(item)
        ]

    def _is_of_a_cluster(self, item: Item) -> bool:
        owner = self._cache.owner(item)
        return owner is not None and owner.ref.kind in CLUSTER_KINDS

    def _owned(self, kind: str, owner_uid: str) -> list[Item]:
        found = self._cache.controlled(self._namespace, owner_uid)
        return [item for item in found if item.ref.kind == kind]
