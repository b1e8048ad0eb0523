"""Cancels the DaskJobs of flow runs that are cancelled in Prefect: one request for all of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from uuid import UUID

#: How often to ask for cancelled flow runs.
SECONDS = 3.0

logger = logging.getLogger("daskjob")

Cancel = Callable[[], Awaitable[None]]
#: Returns which of these flow runs are being cancelled, or are.
Cancelled = Callable[[Collection[UUID]], Awaitable[Collection[UUID]]]


class Cancellations:
    """The flow runs that are watched."""

    def __init__(self, cancelled: Cancelled) -> None:
        self._cancelled = cancelled
        self._cancels: dict[UUID, Cancel] = {}
        self._task: asyncio.Task[None] | None = None

    def __contains__(self, flow_run: UUID) -> bool:
        return flow_run in self._cancels

    @asynccontextmanager
    async def watched(self, flow_run: UUID, cancel: Cancel) -> AsyncIterator[None]:
        """Call ``cancel`` if the flow run is cancelled meanwhile."""
        self._cancels[flow_run] = cancel
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            self._cancels.pop(flow_run, None)

    async def _watch(self) -> None:
        """Look until nothing is watched any more."""
        done: set[UUID] = set()
        while self._cancels:
            try:
                await self._look(done)
            except Exception as error:
                # The next look may succeed.
                logger.warning("cancelled flow runs were not looked for: %s", error)
            await asyncio.sleep(SECONDS)

    async def _look(self, done: set[UUID]) -> None:
        """Cancel the jobs of what is cancelled now."""
        wanted = [flow_run for flow_run in self._cancels if flow_run not in done]
        for found in await self._cancelled(wanted) if wanted else ():
            cancel = self._cancels.get(found)
            if cancel is not None:
                await cancel()
                done.add(found)
