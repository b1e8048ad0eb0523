"""Missing pods: whether they are really gone, or only lost the label that we watch by."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.watching.items import Item
from daskjob.backends.kubernetes.writing.cached_api import CachedApi
from daskjob.backends.rejections import counted
from daskjob.core import names
from daskjob.core.backend import Wake
from daskjob.core.errors import ChangeDenied, CreateRejected, NotFound, RejectionKind
from daskjob.core.manifests import Key, ObjectRef
from daskjob.core.observed import Rejection
from daskjob.core.policies.pacing import next_try
from daskjob.kube.errors import Replaced

#: A namespace, and the uid of an owner in it.
_Owner = tuple[str, str]


class MissingPods:
    """Looks up pods that a watch reported as deleted, once, and restores the labels of live ones.

    To a watch, a pod whose label was removed looks deleted. Without its label a worker would keep
    working unseen, alongside its replacement; a runner would never be stopped; and a group would
    take its cluster for one without a scheduler, and so without data.
    """

    def __init__(
        self, api: CachedApi, cache: Cache, wake: Wake, clock: Callable[[], datetime]
    ) -> None:
        self._own = api
        self._cache = cache
        self._wake = wake
        self._clock = clock
        #: Names of runners and schedulers that do not exist.
        self._looked_for: dict[_Owner, set[str]] = {}
        #: Pods that vanished without being terminated, by uid.
        self._vanished: dict[_Owner, dict[str, ObjectRef]] = {}
        #: Why their labels could not be restored, by the pod's uid.
        self._rejections: dict[str, Rejection] = {}

    def changed(self, old: Item | None, new: Item | None) -> None:
        """Record appearing and vanishing objects."""
        item = new or old
        if item is None:
            return
        owner = (item.ref.namespace, item.owner_uid)
        if owner in self._looked_for:
            self._looked_for[owner].discard(item.ref.name)
        if new is not None:
            self._settled(owner, new.ref.uid)
        elif old is not None:
            self._forget_owner(old.ref)
            self._note_vanished(owner, old)

    def _forget_owner(self, gone: ObjectRef) -> None:
        owner = (gone.namespace, gone.uid)
        self._looked_for.pop(owner, None)
        for uid in self._vanished.pop(owner, ()):
            self._rejections.pop(uid, None)

    def _note_vanished(self, owner: _Owner, gone: Item) -> None:
        """Record a pod of ours that may only have lost the label by which it is watched.

        Not a pod that had ended, that we deleted, or that is deleted with its owner or cluster.
        """
        pod, controller = gone.pod, self._cache.owner(gone)
        if pod is None or controller is None or not self._stays(controller):
            return
        if not (gone.deleting or pod.ended or self._cache.is_gone_for_good(gone.ref.uid)):
            self._vanished.setdefault(owner, {})[gone.ref.uid] = gone.ref

    def _stays(self, owner: Item) -> bool:
        """Return whether an object keeps its pods."""
        if owner.deleting or owner.ref.kind not in _OWNERS:
            return False
        if owner.ref.kind != names.Kind.GROUP:
            return True
        cluster = self._cache.get(names.Kind.CLUSTER, owner.ref.namespace, owner.cluster_ref)
        return cluster is not None and not cluster.deleting

    async def look_for(self, owner: ObjectRef, cluster: str, pod: str) -> None:
        """Look up a runner or scheduler that the cache lacks, once after it vanished.

        If it exists, its label is restored: by its owner it is ours, and without the label no watch
        would report its deletion.
        """
        if pod in self._looked_for.get((owner.namespace, owner.uid), ()):
            return
        found = await self._own.look(ObjectRef("Pod", owner.namespace, pod))
        if found is None or found.owner_uid != owner.uid:
            self._note_absent(owner, pod)
        elif not found.cluster:
            value = names.label_value(cluster)
            await self._own.label(found.ref, names.LABEL_CLUSTER_NAME, value)

    def _note_absent(self, owner: ObjectRef, pod: str) -> None:
        # The owner may have gone, or the pod may have come, while the server was asked.
        cached = self._cache.get("Pod", owner.namespace, pod)
        if self._cache.of_uid(owner.uid) is None or (cached and cached.owner_uid == owner.uid):
            return
        self._looked_for.setdefault((owner.namespace, owner.uid), set()).add(pod)

    async def give_labels_back(self, owner: ObjectRef, cluster: str) -> None:
        """Restore the labels of pods that vanished but exist: by uid they are the owner's."""
        key = (owner.namespace, owner.uid)
        for ref in list(self._vanished.get(key, {}).values()):
            rejection = self._rejections.get(ref.uid)
            if rejection is None or self._clock() >= next_try(rejection):
                await self._give_label_back(owner, ref, names.label_value(cluster))

    async def _give_label_back(self, owner: ObjectRef, pod: ObjectRef, value: str) -> None:
        try:
            await self._own.label(pod, names.LABEL_CLUSTER_NAME, value)
        except (NotFound, Replaced):
            self._note_absent(owner, pod.name)
        except CreateRejected as error:
            self._rejected(owner, pod, error)
            return
        except ChangeDenied as error:
            denied = CreateRejected(RejectionKind.REJECTED, str(pod), str(error))
            self._rejected(owner, pod, denied)
            return
        self._settled((owner.namespace, owner.uid), pod.uid)

    def _rejected(self, owner: ObjectRef, pod: ObjectRef, error: CreateRejected) -> None:
        """Have the label restored later: its rejection must not keep the pass from all else."""
        if pod.uid not in self._vanished.get((owner.namespace, owner.uid), ()):
            return
        now = self._clock()
        rejection = counted(self._rejections.get(pod.uid), error, now)
        self._rejections[pod.uid] = rejection
        wait: timedelta = next_try(rejection) - now
        self._wake(Key(owner.kind, owner.namespace, owner.name), wait.total_seconds())

    def _settled(self, owner: _Owner, uid: str) -> None:
        """Discard a vanished pod that is back, or does not exist."""
        vanished = self._vanished.get(owner)
        if vanished is None or vanished.pop(uid, None) is None:
            return
        self._rejections.pop(uid, None)
        if not vanished:
            del self._vanished[owner]


#: The kinds that own pods.
_OWNERS = (names.Kind.JOB, names.Kind.CLUSTER, names.Kind.GROUP)
