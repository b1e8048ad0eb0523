"""The changes of a cluster's workers: their number, who decides about it, and their groups."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

from daskjob.core import names
from daskjob.core.errors import Conflict, NotFound
from daskjob.core.manifests import Manifest, ObjectRef, object_ref
from daskjob.kube.decoding import read_object
from daskjob.kube.errors import Replaced
from daskjob.kube.objects import list_objects
from daskjob.kube.resources import AUTOSCALERS, Selection
from daskjob.kubecluster.adaptivity import Adaptivity
from daskjob.kubecluster.errors import ClusterExists, NoConnection, ValidationError
from daskjob.kubecluster.groups import autoscalers_of, body_of_group, ref_of_group
from daskjob.kubecluster.manifest import autoscaler_manifest, group_manifest
from daskjob.kubecluster.watch import ClusterWatch
from daskjob.submit.clusters.cluster import Cluster


class Scaling:
    """Scales the worker groups of one cluster.

    ``running`` starts the cluster first where that is needed; ``on_scaled`` is called with the
    number of workers of the default group; a group that the operator has yet to make is awaited
    for ``patience`` seconds.
    """

    def __init__(
        self,
        running: Callable[[], Awaitable[ClusterWatch]],
        *,
        patience: float,
        on_scaled: Callable[[int], None],
    ) -> None:
        #: What ``adapt`` returned last, by group.
        self.adaptivities: dict[str, Adaptivity] = {}
        self._running = running
        self._patience = patience
        self._on_scaled = on_scaled
        #: Changes come into effect in the order of their calls.
        self._turns = asyncio.Lock()

    async def scale(self, n: int, group: str) -> None:
        """Set the number of workers of a group, which ends its automatic scaling."""
        async with self._turns:
            await self._scale(n, group)

    async def _scale(self, n: int, group: str) -> None:
        watch = await self._running()
        self.adaptivities.pop(group, None)
        if group == names.DEFAULT_GROUP:
            worker = {"replicas": n, "autoscaling": None}
            await _patch_cluster(watch, {"spec": {"worker": worker}})
            self._on_scaled(n)
        await _delete_autoscalers(watch, group)
        known = watch.group(group)
        if group != names.DEFAULT_GROUP:
            ref = await self._group(watch, group)
            await watch.api.patch(ref, body_of_group(n), metadata_only=True)
        elif known is not None:
            # An autoscaler may have changed it since the cluster's number was the same.
            with suppress(NotFound, Replaced):
                await watch.api.patch(object_ref(known), body_of_group(n), metadata_only=True)

    async def _group(self, watch: ClusterWatch, group: str) -> ObjectRef:
        return await ref_of_group(watch, group, self._patience)

    async def adapt(self, minimum: int, maximum: int, group: str) -> None:
        """Have the operator scale a group."""
        async with self._turns:
            watch = await self._running()
            await _delete_autoscalers(watch, group)
            if group == names.DEFAULT_GROUP:
                bounds = {"minimum": minimum, "maximum": maximum}
                await _patch_cluster(watch, {"spec": {"worker": {"autoscaling": bounds}}})
                return
            ref = await self._group(watch, group)
            await watch.api.create(autoscaler_manifest(watch.ref.name, ref, minimum, maximum))

    async def stop_adapting(self, group: str) -> None:
        """Have a group keep its workers."""
        async with self._turns:
            self.adaptivities.pop(group, None)
            watch = await self._running()
            await _delete_autoscalers(watch, group)
            if group == names.DEFAULT_GROUP:
                await _patch_cluster(watch, {"spec": {"worker": {"autoscaling": None}}})

    async def retire(self, workers: Iterable[str], scheduler: Any) -> None:
        """Remove workers of the default group, by name, once their data was moved.

        Raises
        ------
        NoConnection
            The scheduler does not answer.
        """
        watch = await self._running()
        prefix = f"{names.group_name(watch.ref.name)}-worker-"
        chosen = [name for name in workers if name.startswith(prefix)]
        if not chosen:
            return
        left = max(watch.cluster.desired_workers - len(chosen), 0)
        try:
            await scheduler.retire_workers(names=chosen, close_workers=True, remove=True)
        except OSError as error:
            raise NoConnection(
                f"no worker of {watch.ref.name} was retired, since its scheduler does not answer: "
                f"{error}"
            ) from error
        await self._scale(left, names.DEFAULT_GROUP)

    async def add(self, group: str, worker: Manifest) -> str:
        """Add a group; return its name.

        Raises
        ------
        ClusterExists
            There is one of this name.
        """
        watch = await self._running()
        try:
            answer = await watch.api.create(group_manifest(watch.ref, group, worker))
        except Conflict as error:
            raise ClusterExists(f"cluster {watch.ref.name} already has a group {group}") from error
        watch.took_group(read_object(answer), group)
        return group

    async def delete(self, group: str) -> None:
        """Delete a group with its workers.

        Raises
        ------
        ValidationError
            It is the default group.
        """
        if group == names.DEFAULT_GROUP:
            raise ValidationError("the default group cannot be deleted; scale it to 0")
        watch = await self._running()
        self.adaptivities.pop(group, None)
        await watch.api.delete(await self._group(watch, group), metadata_only=True)


async def _patch_cluster(watch: ClusterWatch, body: Manifest) -> None:
    watch.took(Cluster(read_object(await watch.api.patch(watch.ref, body))))


async def _delete_autoscalers(watch: ClusterWatch, group: str) -> None:
    """Delete autoscalers of a group that are not part of the cluster's spec."""
    found = await list_objects(watch.api, Selection(AUTOSCALERS, watch.ref.namespace))
    for ref in autoscalers_of(found.items, watch.ref, group):
        with suppress(NotFound, Replaced):
            await watch.api.delete(ref, metadata_only=True)
