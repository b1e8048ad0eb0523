"""The loop of passes without an API server: passes over all objects until nothing changes.

One run has few objects, so every change triggers a pass over each of them. A failed pass is retried
with exponential backoff; it never ends the loop.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from daskjob.backends.in_memory import InMemoryBackend
from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import Key
from daskjob.core.reconcile import reconcile

logger = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 30.0


class SerialPasses:
    """Passes over every object of a backend, whenever one changes or is due."""

    def __init__(self, backend: InMemoryBackend) -> None:
        self._backend = backend
        self._changed = asyncio.Event()
        self._changed.set()
        self._due: dict[Key, datetime] = {}
        self._failures: dict[Key, int] = {}
        backend.watch(self._changed.set)

    async def run(self, until: Callable[[], bool]) -> None:
        """Run passes until the condition is true; it is checked after every round."""
        while True:
            self._changed.clear()
            await self.round()
            if until():
                return
            await self._wait()

    async def round(self) -> None:
        """Run one pass over every object."""
        subjects = self._backend.subjects()
        for key in self._due.keys() - set(subjects):
            # Its due time would stay in the past, and the loop would never sleep.
            del self._due[key]
            self._failures.pop(key, None)
        for key in subjects:
            await self._pass(key)
            # Objects that this pass created may start while the next one decides.
            await asyncio.sleep(0)

    async def _pass(self, key: Key) -> None:
        now = self._backend.clock()
        try:
            wake_at = await reconcile(self._backend, key, now)
        except DaskJobError as error:
            failures = self._failures.get(key, 0) + 1
            self._failures[key] = failures
            wait = min(FIRST_BACKOFF_SECONDS * 2 ** (failures - 1), LONGEST_BACKOFF_SECONDS)
            wait *= random.uniform(0.8, 1.2)
            logger.warning("%s: %s; trying again in %.1f s", key, error, wait)
            self._due[key] = now + timedelta(seconds=wait)
            return
        self._failures.pop(key, None)
        if wake_at is None:
            self._due.pop(key, None)
        else:
            self._due[key] = wake_at

    async def _wait(self) -> None:
        soonest = min(self._due.values(), default=None)
        timeout = None
        if soonest is not None:
            timeout = max((soonest - self._backend.clock()).total_seconds(), 0.001)
        # Not wait_for: before Python 3.12 it loses a cancellation along with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait()
