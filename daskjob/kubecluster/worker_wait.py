"""The wait for workers: how many of them run, and why others do not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dask.utils import parse_timedelta
from distributed.core import Status

from daskjob.core import names
from daskjob.kubecluster.errors import StillMissing, ValidationError
from daskjob.kubecluster.watch import ClusterWatch

#: Between two questions to the scheduler, and before one that does not answer is asked again.
PAUSE_SECONDS = 0.1
AGAIN_SECONDS = 0.5
SILENCE = "the scheduler does not answer"
NOTHING_KNOWN = "the others are starting; get_logs() shows what their pods write"

#: The workers that a scheduler knows, by address.
Workers = Mapping[str, Mapping[str, Any]]


def check_number_of_workers(n_workers: object) -> None:
    """Reject what cannot be waited for.

    Raises
    ------
    ValidationError
        It is no whole number from 1 on.
    """
    if isinstance(n_workers, bool) or not isinstance(n_workers, int) or n_workers < 1:
        raise ValidationError(f"n_workers: {n_workers!r} is no number of workers from 1 on")


@dataclass(frozen=True, slots=True)
class WorkerWait:
    """The wait for workers of one cluster: of all groups or of one."""

    cluster: str
    n_workers: int
    timeout: Any = None
    group: str | None = None

    async def done(
        self,
        ask: Callable[[], Awaitable[Workers]],
        problems: Callable[[], Mapping[str, str]],
    ) -> None:
        """Wait; ``ask`` returns the scheduler's workers.

        Its pod may be replaced meanwhile: a scheduler that does not answer is asked again.

        Raises
        ------
        StillMissing
            Time is up; with the reason, by ``problems`` of the groups.
        """
        seconds = parse_timedelta(self.timeout) if self.timeout else None
        running, silence = 0, SILENCE
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        running, silence = self.running(await ask()), ""
                    except OSError as error:
                        running, silence = 0, f"{SILENCE}: {error}"
                    if running >= self.n_workers:
                        return
                    await asyncio.sleep(AGAIN_SECONDS if silence else PAUSE_SECONDS)
        except TimeoutError:
            reason = silence or self.reason(problems()) or NOTHING_KNOWN
            raise StillMissing(running, self.n_workers, self.timeout, reason) from None

    def running(self, workers: Workers) -> int:
        """Return how many of these workers run."""
        prefix = f"{names.group_name(self.cluster, self.group)}-worker-" if self.group else ""
        running = Status.running.name
        return sum(
            worker.get("status", running) == running and str(worker["name"]).startswith(prefix)
            for worker in workers.values()
        )

    def problems(self, watch: ClusterWatch) -> Mapping[str, str]:
        """Return why workers are missing, by group: also if no more of them are requested."""
        requested = {g: n for g, n in watch.replicas().items() if self.group in (None, g)}
        total, adaptive = sum(requested.values()), watch.autoscaling() or {}
        if total >= self.n_workers or not adaptive.keys().isdisjoint(requested):
            return watch.problems()
        group = self.group or names.DEFAULT_GROUP
        return {
            **watch.problems(),
            group: f"{total} {'is' if total == 1 else 'are'} requested; scale requests more",
        }

    def reason(self, problems: Mapping[str, str]) -> str:
        """Return why workers are missing; empty if nothing is known."""
        return "; ".join(problems[g] for g in problems if self.group in (None, g))
