"""The pod behind a selector or a Service, followed by a watch while it is replaced."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from daskjob.core.errors import ApiError, DaskJobError, NotFound
from daskjob.core.manifests import (
    Manifest,
    ObjectRef,
    mapping,
    mappings,
    metadata,
    object_ref,
)
from daskjob.kube.api import Api
from daskjob.kube.objects import (
    PACE,
    Change,
    ObjectList,
    Pace,
    get_object,
    list_objects,
    watching,
)
from daskjob.kube.resources import PODS, Selection

logger = logging.getLogger(__name__)


class NoPod(ApiError):
    """No pod runs behind the selector."""


@dataclass(frozen=True, slots=True)
class Backend:
    """A port of the pods that a selector selects."""

    namespace: str
    #: A label selector.
    labels: str
    #: A number, or the name of a container's port.
    port: int | str
    #: For messages.
    subject: str


async def backend_of(api: Api, service: ObjectRef, *ports: int | str) -> Backend:
    """Return what is behind a Service: its port with the first name or number that it has.

    Raises
    ------
    NotFound
        There is no such Service, or it has no such port, or no selector.
    """
    spec = mapping((await get_object(api, service)).get("spec"))
    selector = mapping(spec.get("selector"))
    if not selector:
        raise NotFound(f"{service} selects no pods")
    found = mappings(spec.get("ports"))
    for wanted in ports:
        for port in found:
            if wanted in (port.get("name"), port.get("port")):
                labels = ",".join(f"{key}={value}" for key, value in selector.items())
                target = port.get("targetPort") or port.get("port")
                return Backend(service.namespace, labels, _port(target), str(service))
    existing = ", ".join(f"{port.get('name', '')} {port.get('port')}".strip() for port in found)
    raise NotFound(f"{service} has no port {ports[0]}; it has: {existing or 'none'}")


def _port(target: object) -> int | str:
    return target if isinstance(target, int) else str(target)


class FollowedPod:
    """The running pod of a backend; open it with ``following``."""

    def __init__(self, api: Api, backend: Backend, *, pace: Pace = PACE) -> None:
        self.backend = backend
        self._api = api
        self._pace = pace
        self._pods: dict[ObjectRef, Manifest] = {}
        self._gone: dict[ObjectRef, asyncio.Event] = {}
        self._changed = asyncio.Event()
        self._failed: DaskJobError | None = None

    @property
    def current(self) -> ObjectRef | None:
        """The pod to connect to: a ready one, else a running one; the newest of several."""
        running = [ref for ref, pod in self._pods.items() if _runs(pod)]
        return max(running, key=lambda ref: _rank(self._pods[ref]), default=None)

    async def wait(self) -> tuple[ObjectRef, int]:
        """Return the pod and its port, as soon as it runs.

        Raises
        ------
        DaskJobError
            The pods cannot be watched.
        NotFound
            No container of the pod has a port of this name.
        """
        while True:
            self._changed.clear()
            found = self.current
            if found is not None:
                return found, self._number(found)
            if self._failed is not None:
                raise self._failed
            await self._changed.wait()

    def gone(self, pod: ObjectRef) -> asyncio.Event:
        """Return the event that a pod has ended or was deleted."""
        event = self._gone.setdefault(pod, asyncio.Event())
        if pod not in self._pods:
            event.set()
        return event

    def state(self) -> str:
        """Return why there is no pod, for messages."""
        phases = [
            f"pod {ref.name} is {mapping(pod.get('status')).get('phase', 'Pending')}"
            for ref, pod in self._pods.items()
        ]
        return ", ".join(phases) or f"no pod has the labels {self.backend.labels}"

    async def follow(self) -> None:
        """Watch the pods, indefinitely; a failure is raised by ``wait``, and tried again."""
        selection = Selection(PODS, self.backend.namespace, labels=self.backend.labels)
        failures = 0
        while True:
            try:
                listed = await list_objects(self._api, selection)
                failures, self._failed = 0, None
                self._take_list(listed)
                async with watching(self._api, selection, since=listed, pace=self._pace) as changes:
                    async for change in changes:
                        self._take(change)
            except DaskJobError as error:
                logger.debug("%s", error)
                self._failed = error
                self._changed.set()
            failures = min(failures + 1, 10)
            wait = min(self._pace.shortest * 2.0**failures, self._pace.longest)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))

    def _take_list(self, listed: ObjectList) -> None:
        found = {object_ref(item): item for item in listed.items}
        for ref in [known for known in self._pods if known not in found]:
            self._take(Change(ref, None, gone=True))
        for ref, manifest in found.items():
            self._take(Change(ref, manifest))

    def _take(self, change: Change) -> None:
        if change.gone or change.manifest is None or _has_ended(change.manifest):
            self._pods.pop(change.ref, None)
            event = self._gone.pop(change.ref, None)
            if event is not None:
                event.set()
        else:
            self._pods[change.ref] = change.manifest
        self._changed.set()

    def _number(self, pod: ObjectRef) -> int:
        wanted = self.backend.port
        if isinstance(wanted, int):
            return wanted
        for container in mappings(mapping(self._pods[pod].get("spec")).get("containers")):
            for port in mappings(container.get("ports")):
                if port.get("name") == wanted and isinstance(port.get("containerPort"), int):
                    return int(port["containerPort"])
        raise NotFound(f"no container of {pod} has a port {wanted}")


@asynccontextmanager
async def following(api: Api, backend: Backend, *, pace: Pace = PACE) -> AsyncIterator[FollowedPod]:
    """Follow the pod of a backend during the block."""
    found = FollowedPod(api, backend, pace=pace)
    task = asyncio.create_task(found.follow())
    try:
        yield found
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _runs(pod: Manifest) -> bool:
    is_running = mapping(pod.get("status")).get("phase") == "Running"
    return is_running and not metadata(pod).get("deletionTimestamp")


def _has_ended(pod: Manifest) -> bool:
    return mapping(pod.get("status")).get("phase") in ("Succeeded", "Failed")


def _rank(pod: Manifest) -> tuple[bool, str, str]:
    conditions = mappings(mapping(pod.get("status")).get("conditions"))
    is_ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    meta = metadata(pod)
    return is_ready, str(meta.get("creationTimestamp", "")), str(meta.get("name", ""))
