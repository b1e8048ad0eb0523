"""The start of a scheduler's pod: waits that end, and that report what blocks it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from daskjob.core.diagnose import container_end, crash_loop, ended_by, waiting_for
from daskjob.core.errors import DaskJobError, Timeout
from daskjob.core.manifests import Manifest, ObjectRef, mapping, mappings
from daskjob.core.pods import PodFacts, pod_facts
from daskjob.kube.api import Api
from daskjob.kube.objects import watching
from daskjob.kube.resources import selection_of

logger = logging.getLogger("daskjob")

#: After this time, a problem that may pass is reported.
REPORT_SECONDS = 10.0

Notify = Callable[[str], None]


class SchedulerFailed(DaskJobError):
    """The scheduler of a cluster cannot start, or has ended."""


class PodStart:
    """The start of one pod, followed by one watch."""

    def __init__(self, api: Api, ref: ObjectRef, notify: Notify) -> None:
        self._api = api
        self._ref = ref
        self._notify = notify
        self._pod: Manifest = {}
        self._reported = ""
        #: Warnings of its Events, which not every Role allows to list.
        self._warnings: list[tuple[str, str]] = []
        #: Set as soon as its first container runs.
        self.running = asyncio.Event()

    @property
    def pod(self) -> Manifest:
        """The pod as it was seen last."""
        return self._pod

    async def follow(self) -> None:
        """Watch the pod, and raise ``SchedulerFailed`` once it cannot start any more."""
        started = asyncio.get_running_loop().time()
        async with watching(self._api, selection_of(self._ref)) as changes:
            async for change in changes:
                if change.ref.uid != self._ref.uid:
                    continue
                if change.gone or change.manifest is None:
                    raise SchedulerFailed(f"{self._ref} was deleted")
                self._pod = change.manifest
                self._check(pod_facts(change.manifest))
                if asyncio.get_running_loop().time() - started >= REPORT_SECONDS:
                    self._report()

    def _check(self, facts: PodFacts) -> None:
        if facts.ended or (facts.main and facts.main.terminated):
            raise SchedulerFailed(_end(facts))
        found = waiting_for(facts)
        if found and found.final:
            raise SchedulerFailed(found.message)
        if facts.main and facts.main.running:
            self.running.set()

    async def remind(self) -> None:
        """Report what the pod waits for, after a while."""
        await asyncio.sleep(REPORT_SECONDS)
        await self.look()
        self._report()

    async def look(self) -> None:
        """Read the warnings about the pod, if that is allowed."""
        with suppress(DaskJobError, ValueError):
            events = mappings(json.loads(await self._api.warnings(self._ref)).get("items"))
            self._warnings = [(str(e.get("reason")), str(e.get("message"))) for e in events]

    def _report(self) -> None:
        reason = self.reason()
        if reason and reason != self._reported and not self.running.is_set():
            self._notify(f"the scheduler does not run yet: {reason}")
            self._reported = reason

    def reason(self) -> str:
        """Return what the pod waits for; it may be unknown."""
        facts = pod_facts(self._pod, self._warnings)
        found = crash_loop(facts) or waiting_for(facts)
        if found:
            return found.message
        phase = mapping(self._pod.get("status")).get("phase", "Pending")
        if facts.main and facts.main.running:
            return f"pod {self._ref.name} runs, and its scheduler does not answer"
        if facts.scheduled:
            return f"the node of pod {self._ref.name} is still creating it"
        return f"pod {self._ref.name} is {phase}, and no node was chosen for it"


def _end(facts: PodFacts) -> str:
    found = ended_by(facts) or crash_loop(facts)
    if found is None and facts.main:
        found = container_end(facts, facts.main)
    text = found.message if found else f"pod {facts.ref.name} has ended"
    log = facts.main.message.strip() if facts.main else ""
    return f"{text}\nThe end of its log:\n{log}" if log and "Traceback" not in text else text


async def first_of(work: asyncio.Task[None], guard: asyncio.Task[None]) -> None:
    """Wait for ``work``; ``guard`` never ends but by an error, which is raised then."""
    try:
        await asyncio.wait({work, guard}, return_when=asyncio.FIRST_COMPLETED)
        for task in (work, guard):
            if task.done():
                task.result()
    finally:
        for task in (work, guard):
            task.cancel()
        await asyncio.gather(work, guard, return_exceptions=True)


async def started(start: PodStart, reach: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Wait until the pod runs and ``reach`` has succeeded.

    Raises
    ------
    SchedulerFailed
        It cannot start; with the reason in Kubernetes' words.
    Timeout
        The time is over; with what it waited for.
    """

    async def work() -> None:
        await start.running.wait()
        await reach()

    reminder = asyncio.create_task(start.remind())
    # A limit of 0 is none.
    limit = seconds or None
    try:
        async with asyncio.timeout(limit):
            await first_of(asyncio.create_task(work()), asyncio.create_task(start.follow()))
    except TimeoutError as error:
        await start.look()
        raise Timeout(
            f"the scheduler did not start within {seconds:g} s "
            f"(kubernetes.scheduler-start-timeout): {start.reason()}"
        ) from error
    finally:
        reminder.cancel()
