"""A life: events happen at planned times, and each change wakes the passes, as watches do.

A ``Story`` goes step by step; a life runs through. Passes run after a change and when an earlier
pass asked to be woken: never otherwise, and never less often.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from datetime import datetime, timedelta

from daskjob.backends.fake import START, FakeBackend
from daskjob.core import names
from daskjob.core.manifests import Key, Manifest
from daskjob.core.pods import pod_facts
from daskjob.core.reconcile import reconcile
from tests.core.stories import JOB, Story

#: Writes that count as requests to an API server; the scheduler's agent is not reached through it.
REQUESTS = ("create", "delete", "stop", "patch", "status")


class Life(Story):
    """A world with an operator, and planned events."""

    def __init__(self, manifest: Manifest, world: FakeBackend | None = None) -> None:
        super().__init__(manifest, world)
        self._plan: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._due: dict[Key, datetime] = {}
        self._changed = True
        self.world.watch(self._note_change)

    def _note_change(self) -> None:
        self._changed = True

    # Plans

    def at(self, seconds: float, happens: Callable[[], None]) -> None:
        """Plan an event at this time after the world's start."""
        self._plan.append((START + timedelta(seconds=seconds), next(self._order), happens))
        self._plan.sort(key=lambda step: step[:2])

    def pod_starts(
        self, component: str, seconds: float, *, index: int = 0, probe: float = 0
    ) -> None:
        """Plan a pod's start in the steps in which a kubelet reports it.

        It runs at the given time, and is ready the given seconds later.
        """

        def pod() -> Manifest:
            return self.world.pods(component)[index]

        def creating() -> None:
            self.world.wait_with(pod(), "ContainerCreating")

        self.at(max(seconds - 0.9, 0.1), lambda: self.world.schedule(pod()))
        self.at(max(seconds - 0.8, 0.2), creating)
        self.at(seconds, lambda: self.world.start(pod(), ready=not probe))
        if probe:
            self.at(seconds + probe, lambda: self.world.becomes_ready(pod()))

    def runner_ends(self, seconds: float, code: int = 0) -> None:
        """Plan the end of the runner of attempt 0."""
        self.at(seconds, lambda: self.world.exit(self.runner(), code))

    # Living

    def until(self, seconds: float) -> None:
        """Run until this time after the world's start."""
        asyncio.run(self._until(START + timedelta(seconds=seconds)))

    async def _until(self, end: datetime) -> None:
        while True:
            await self._passes()
            moments = [*self._due.values(), *(step[0] for step in self._plan[:1])]
            soonest = min(moments, default=end)
            if soonest >= end:
                self.world.now = end
                return
            self.world.now = max(self.world.now, soonest)
            if self._plan and self._plan[0][0] <= self.world.now:
                self._plan.pop(0)[2]()
            for key in [key for key, due in self._due.items() if due <= self.world.now]:
                await self._pass(key)

    async def _passes(self) -> None:
        while self._changed:
            self._changed = False
            for key in self.world.subjects():
                await self._pass(key)

    async def _pass(self, key: Key) -> None:
        self._due.pop(key, None)
        wake_at = await reconcile(self.world, key, self.world.now)
        if wake_at is not None:
            self._due[key] = wake_at

    # Results

    def requests(self) -> list[str]:
        """Return the requests that an API server would have received so far."""
        return [write for write in self.writes if write.startswith(REQUESTS)]

    def status_writes(self, kind: str = JOB) -> int:
        """Return the number of status writes of a kind."""
        return sum(1 for write in self.writes if write.startswith(f"status {kind}/"))

    def ready_workers(self) -> int:
        """Return the number of ready workers."""
        pods = self.world.pods(names.Component.WORKER)
        return sum(1 for pod in pods if pod_facts(pod).ready)
