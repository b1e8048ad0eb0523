"""Missing pods: whether they are really gone, or only lost the label that we watch by."""

from __future__ import annotations

from contextlib import suppress

from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.watching.items import Item
from daskjob.backends.kubernetes.writing.cached_api import CachedApi
from daskjob.core import names
from daskjob.core.errors import ChangeDenied, CreateRejected, NotFound
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.core.parsed import parsed_group
from daskjob.kube.errors import Replaced


class MissingPods:
    """Looks up pods that a watch reported as deleted, once, and restores the labels of live ones.

    To a watch, a pod whose label was removed looks deleted.
    """

    def __init__(self, api: CachedApi, cache: Cache) -> None:
        self._own = api
        self._cache = cache
        #: Runners and schedulers that do not exist, by their owner's uid.
        self._looked_for: dict[str, set[str]] = {}
        #: Workers that vanished without being terminated, by their group's uid.
        self._vanished: dict[str, list[ObjectRef]] = {}

    def changed(self, old: Item | None, new: Item | None) -> None:
        """Record appearing and vanishing objects."""
        if new is None and old is not None:
            self._looked_for.pop(old.ref.uid, None)
            self._vanished.pop(old.ref.uid, None)
            self._note_vanished(old)
        elif new is not None and new.owner_uid in self._looked_for:
            self._looked_for[new.owner_uid].discard(new.ref.name)

    def _note_vanished(self, gone: Item) -> None:
        """Record a worker that may only have lost the label by which it is watched.

        Not a worker that had ended, that we deleted, or that is deleted with its group or cluster.
        """
        pod, group = gone.pod, self._cache.of_uid(gone.owner_uid)
        if pod is None or group is None or group.ref.kind != names.Kind.GROUP:
            return
        cluster = self._cache.get(names.Kind.CLUSTER, group.ref.namespace, group.cluster_ref)
        stays = cluster is not None and not (cluster.deleting or group.deleting)
        if stays and not (gone.deleting or pod.ended or self._cache.is_gone_for_good(gone.ref.uid)):
            self._vanished.setdefault(group.ref.uid, []).append(gone.ref)

    async def look_for(self, namespace: str, owner_uid: str, cluster: str, pod: str) -> None:
        """Look up a runner or scheduler that the cache lacks, once.

        If it exists, its label is restored: by its owner it is ours, and without the label no watch
        would report its deletion.
        """
        if pod in self._looked_for.get(owner_uid, ()):
            return
        found = await self._own.look(ObjectRef("Pod", namespace, pod))
        if found is None or found.owner_uid != owner_uid:
            self._looked_for.setdefault(owner_uid, set()).add(pod)
            return
        if not found.cluster:
            value = names.label_value(cluster)
            await self._own.label(found.ref, names.LABEL_CLUSTER_NAME, value)

    async def give_labels_back(self, group: Manifest) -> None:
        """Restore the label of workers that vanished but exist: by uid they are the group's.

        Without it such a worker would keep working unseen, alongside its replacement.
        """
        of, _ = parsed_group(group)
        value = names.label_value(of.cluster)
        vanished = self._vanished.get(of.meta.uid)
        if vanished is None:
            return
        while vanished:
            # Workers that vanish meanwhile are appended, so the first stays first.
            with suppress(NotFound, Replaced, CreateRejected, ChangeDenied):
                await self._own.label(vanished[0], names.LABEL_CLUSTER_NAME, value)
            del vanished[0]
        self._vanished.pop(of.meta.uid, None)
