"""The state of a cluster, its groups and autoscalers, from a watch of each: nothing is polled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from daskjob.core import names
from daskjob.core.errors import DaskJobError, Forbidden
from daskjob.core.manifests import (
    Manifest,
    ObjectRef,
    controller_uid,
    integer,
    mapping,
    mappings,
    object_ref,
)
from daskjob.core.parsed import parsed_group_status
from daskjob.core.status import Condition, ConditionType, find_condition
from daskjob.kube.api import Api
from daskjob.kube.objects import list_objects, watching
from daskjob.kube.resources import AUTOSCALERS, GROUPS, Selection, selection_of
from daskjob.kubecluster import tasks
from daskjob.submit.clusters.cluster import Cluster

logger = logging.getLogger("daskjob")

#: The wait after a watch that failed for good, such as by a permission that was withdrawn.
AGAIN_SECONDS = 30.0


class ClusterWatch:
    """A cluster as the API server has it now; ``start`` it in the loop that reads it."""

    def __init__(self, api: Api, cluster: Cluster) -> None:
        self.cluster = cluster
        #: Whether the cluster was deleted.
        self.gone = False
        #: The groups of the cluster, by the name of their object.
        self.groups: dict[str, Manifest] = {}
        #: Its autoscalers that do not follow its spec; ``None``: none was ever seen.
        self._autoscalers: dict[str, Manifest] | None = None
        self.api = api
        self.ref = cluster.ref
        #: Additional groups that were added here, as users call them.
        self._added: list[str] = []
        self._waiting: set[asyncio.Future[None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        #: Called after each change.
        self.on_change: list[Callable[[], None]] = []

    def start(self) -> None:
        """Start to watch."""
        self._tasks = [
            asyncio.ensure_future(self._follow_cluster()),
            asyncio.ensure_future(self._follow_groups()),
            asyncio.ensure_future(self._follow_autoscalers()),
        ]

    async def stop(self) -> None:
        """End the watches."""
        await tasks.end(self._tasks)
        self._tasks = []

    async def change(self, seconds: float | None = None) -> bool:
        """Wait for a change; return whether there was one within the time."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            async with asyncio.timeout(seconds):
                await waiting
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(waiting)
        return True

    def group(self, name: str) -> Manifest | None:
        """Return the group of the cluster that users call by this name."""
        return self.groups.get(names.group_name(self.ref.name, name))

    def declared_groups(self) -> list[str]:
        """Return the groups that the cluster's spec has: the operator makes them."""
        spec = mapping(self.cluster.manifest.get("spec"))
        others = [str(group.get("name")) for group in mappings(spec.get("workerGroups"))]
        return [names.DEFAULT_GROUP, *others]

    def called(self, name: str) -> str:
        """Return what users call a group, by the name of its object, which may be shortened."""
        for group in (*self.declared_groups(), *self._added):
            if names.group_name(self.ref.name, group) == name:
                return group
        return name.removeprefix(f"{self.ref.name}-")

    def names_of_groups(self) -> list[str]:
        """Return what users call the groups, the default one first."""
        found = [self.called(name) for name in self.groups]
        return sorted(found, key=lambda name: (name != names.DEFAULT_GROUP, name))

    def replicas(self) -> dict[str, int]:
        """Return the wanted number of workers of each group.

        The default group's is the cluster's: it is right before the operator has made the group.
        """
        found = {self.called(name): replicas_of(group) for name, group in self.groups.items()}
        found[names.DEFAULT_GROUP] = self.cluster.desired_workers
        return found

    def autoscaling(self) -> dict[str, Manifest] | None:
        """Return the specs of autoscalers by what users call their group.

        ``None``: none was ever seen, since there is none, or they may not be listed.
        """
        if self._autoscalers is None:
            return None
        specs = [mapping(scaler.get("spec")) for scaler in self._autoscalers.values()]
        default = names.group_name(self.ref.name)
        return {self.called(str(spec.get("workerGroup") or default)): spec for spec in specs}

    def problems(self) -> dict[str, str]:
        """Return why workers of a group are not ready, by group."""
        return {name: condition.message for name, condition in self.missing_workers().items()}

    def missing_workers(self) -> dict[str, Condition]:
        """Return what the operator reports of the groups that lack workers."""
        found = {}
        for name, group in self.groups.items():
            condition = find_condition(
                parsed_group_status(group).conditions, ConditionType.WORKERS_READY
            )
            if condition is not None and not condition.status and condition.message:
                found[self.called(name)] = condition
        return found

    def scheduler_condition(self) -> Condition | None:
        """Return what the operator reports about the scheduler."""
        return find_condition(self.cluster.status.conditions, ConditionType.SCHEDULER_READY)

    def took(self, cluster: Cluster) -> None:
        """Take a newer state of the cluster, as a request returned it."""
        self.cluster = cluster
        self._notify()

    def took_group(self, manifest: Manifest, name: str = "") -> None:
        """Take a group, as a request returned it; with a name if it is a new one."""
        if name:
            self._added.append(name)
        self._take_group(object_ref(manifest), manifest)

    async def _follow_cluster(self) -> None:
        while not self.gone:
            with _logged():
                await self._until_gone()
                return
            await asyncio.sleep(AGAIN_SECONDS)

    async def _until_gone(self) -> None:
        """Follow the cluster; it may have been deleted, and another one created, before this."""
        selection = selection_of(self.ref)
        found = await list_objects(self.api, selection)
        listed = [item for item in found.items if object_ref(item).uid == self.ref.uid]
        if not self._take_cluster(listed[0] if listed else None):
            return
        async with watching(self.api, selection, since=found) as changes:
            async for change in changes:
                if change.ref.uid != self.ref.uid:
                    continue
                if not self._take_cluster(None if change.gone else change.manifest):
                    return

    def _take_cluster(self, manifest: Manifest | None) -> bool:
        """Take the cluster as it is now; return whether it still exists."""
        if manifest is None:
            self.gone = True
        else:
            self.cluster = Cluster(manifest)
        self._notify()
        return manifest is not None

    async def _follow_groups(self) -> None:
        selection = Selection(GROUPS, self.ref.namespace)
        while not self.gone:
            with _logged():
                async with watching(self.api, selection) as changes:
                    async for change in changes:
                        self._take_group(change.ref, None if change.gone else change.manifest)
            await asyncio.sleep(AGAIN_SECONDS)

    async def _follow_autoscalers(self) -> None:
        selection = Selection(AUTOSCALERS, self.ref.namespace)
        while not self.gone:
            with _logged():
                async with watching(self.api, selection) as changes:
                    async for change in changes:
                        self.take_autoscaler(change.ref, None if change.gone else change.manifest)
            await asyncio.sleep(AGAIN_SECONDS)

    def take_autoscaler(self, ref: ObjectRef, manifest: Manifest | None) -> None:
        """Take an autoscaler; without a manifest, it is gone."""
        known = self._autoscalers or {}
        if manifest is None:
            if ref.name not in known or object_ref(known[ref.name]).uid != ref.uid:
                return
            del known[ref.name]
        elif not self._is_additional(manifest):
            return
        else:
            known[ref.name] = manifest
        self._autoscalers = known
        self._notify()

    def _is_additional(self, autoscaler: Manifest) -> bool:
        """Return whether it is of this cluster, and not of its spec, which is read itself."""
        is_ours = mapping(autoscaler.get("spec")).get("cluster") == self.ref.name
        return is_ours and controller_uid(autoscaler) != self.ref.uid

    def _take_group(self, ref: ObjectRef, manifest: Manifest | None) -> None:
        known = self.groups.get(ref.name)
        if manifest is None:
            if known is not None and object_ref(known).uid == ref.uid:
                del self.groups[ref.name]
                self._notify()
        elif mapping(manifest.get("spec")).get("cluster") == self.ref.name:
            self.groups[ref.name] = manifest
            self._notify()

    def _notify(self) -> None:
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        for call in tuple(self.on_change):
            call()


class _logged:  # noqa: N801 - used as a function
    """Log an error that ends a watch: the cluster works without it."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, traceback: object) -> bool:
        if isinstance(error, Forbidden):
            logger.info("%s", error)
            return True
        if isinstance(error, DaskJobError):
            logger.debug("%s", error)
            return True
        return False


def replicas_of(group: Mapping[str, object]) -> int:
    """Return the number of workers that a group should have."""
    worker = mapping(mapping(group.get("spec")).get("worker"))
    found = integer(worker.get("replicas", 1))
    return 1 if found is None else found
