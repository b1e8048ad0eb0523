"""The loop of a world without an API server: passes over its objects until nothing changes.

A world of one run holds a handful of objects, so every change wakes a pass over each of them. A
pass that fails is repeated with a growing wait; it never ends the loop.
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
    """Passes over every object of a backend, whenever one changes or a moment has come."""

    def __init__(self, backend: InMemoryBackend) -> None:
        self._backend = backend
        self._changed = asyncio.Event()
        self._changed.set()
        self._due: dict[Key, datetime] = {}
        self._failures: dict[Key, int] = {}
        backend.watch(self._changed.set)

    async def run(self, until: Callable[[], bool]) -> None:
        """Make passes until the condition holds; it is asked after every round."""
        while True:
            self._changed.clear()
            await self.round()
            if until():
                return
            await self._wait()

    async def round(self) -> None:
        """Make one pass over every object."""
        subjects = self._backend.subjects()
        for key in self._due.keys() - set(subjects):
            # Its moment would lie in the past for ever, and the loop would never rest.
            del self._due[key]
            self._failures.pop(key, None)
        for key in subjects:
            await self._pass(key)
            # What this pass created may start while the next one decides.
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
        # Not wait_for: until Python 3.12 a cancellation that comes with the event is lost.
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait()
