"""The last report of each scheduler, requested when an attempt ends.

No pass waits for it: the answer wakes the job's pass. A verdict never depends on it: whatever the
scheduler answers, or if it does not, there is a result after 2 s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from daskjob.backends.agent_answers import NoAnswer, usable_report
from daskjob.backends.background import Background
from daskjob.backends.kubernetes.asking.agents import STATE, Agents, Endpoint
from daskjob.core.dask import dask_state
from daskjob.core.manifests import Key, Manifest
from daskjob.core.observed import CollectedReport
from daskjob.core.pods import PodFacts

logger = logging.getLogger(__name__)


class Reports:
    """Collected reports, by the scheduler pod's uid.

    ``on_answer`` is called with the key of the job; ``exists`` returns whether the object of a uid
    still exists.
    """

    def __init__(
        self,
        agents: Agents,
        on_answer: Callable[[Key], None],
        exists: Callable[[str], bool],
        background: Background,
    ) -> None:
        self._agents = agents
        self._on_answer = on_answer
        self._exists = exists
        self._background = background
        self._reports: dict[str, CollectedReport] = {}
        self._under_way: set[str] = set()

    def of(self, scheduler_uid: str) -> CollectedReport | None:
        """Return the collected report; ``None`` if there is no result yet."""
        return self._reports.get(scheduler_uid)

    def forget(self, scheduler_uid: str) -> None:
        """Discard the report of a scheduler that is gone."""
        self._reports.pop(scheduler_uid, None)

    def ask(self, job: Key, scheduler: PodFacts, endpoint: Endpoint | None, attempt: int) -> None:
        """Ask a scheduler's agent, unless that is under way; its answer wakes the job's pass."""
        uid = scheduler.ref.uid
        if endpoint is None:
            self._collected(job, uid, None, attempt)
        elif uid not in self._under_way:
            self._under_way.add(uid)
            self._background(self._question(job, scheduler, endpoint, attempt))

    async def _question(
        self, job: Key, scheduler: PodFacts, endpoint: Endpoint, attempt: int
    ) -> None:
        report: Manifest | None = None
        try:
            answer, state = await asyncio.gather(
                self._answer(job, endpoint, "report"), self._answer(job, endpoint, STATE)
            )
            report = None if answer is None else usable_report(answer)
            if state is not None:
                self._agents.record(scheduler.owner_uid, endpoint, dask_state(state))
        finally:
            # Also after an unexpected error: without a result the job would never end.
            self._under_way.discard(scheduler.ref.uid)
            self._collected(job, scheduler.ref.uid, report, attempt)

    async def _answer(self, job: Key, endpoint: Endpoint, route: str) -> Manifest | None:
        try:
            return await self._agents.ask(endpoint, route)
        except NoAnswer as error:
            logger.info("%s: no %s from its scheduler: %s", job, route, error)
            return None

    def _collected(
        self, job: Key, scheduler_uid: str, report: Manifest | None, attempt: int
    ) -> None:
        if self._exists(scheduler_uid):
            self._reports[scheduler_uid] = CollectedReport(report, attempt)
        self._on_answer(job)
