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
        workers: Callable[[], Workers],
        refresh: Callable[[], Awaitable[None]],
        problems: Callable[[], Mapping[str, str]],
    ) -> None:
        """Wait.

        Raises
        ------
        StillMissing
            Time is up; with the reason, by ``problems`` of the groups.
        """
        seconds = parse_timedelta(self.timeout) if self.timeout else None
        running = 0
        try:
            async with asyncio.timeout(seconds):
                while (running := self.running(workers())) < self.n_workers:
                    await asyncio.sleep(0.1)
                    await refresh()
        except TimeoutError:
            reason = self.reason(problems())
            raise StillMissing(running, self.n_workers, self.timeout, reason) from None

    def running(self, workers: Workers) -> int:
        """Return how many of these workers run."""
        prefix = f"{names.group_name(self.cluster, self.group)}-worker-" if self.group else ""
        running = Status.running.name
        return sum(
            worker.get("status", running) == running and str(worker["name"]).startswith(prefix)
            for worker in workers.values()
        )

    def reason(self, problems: Mapping[str, str]) -> str:
        """Return why workers are missing; empty if nothing is known."""
        return "; ".join(problems[g] for g in problems if self.group in (None, g))
