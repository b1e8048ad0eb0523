"""The loop of passes: take what is due, look at it, look again when the pass says.

At most 16 passes at a time, one for an object. A pass that fails, however it fails, fails its
object alone: it backs off, and the log says so. This is the one place that catches ``Exception``.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Callable
from datetime import datetime

from daskjob.controller.clock import Clock, machine_clock, utc_now
from daskjob.controller.queue import WorkQueue
from daskjob.controller.world import World
from daskjob.core.backend import Backend
from daskjob.core.concurrency import PassConcurrency
from daskjob.core.errors import ChangeDenied, DaskJobError, Invalid
from daskjob.core.manifests import Key
from daskjob.core.reconcile import reconcile

logger = logging.getLogger(__name__)

#: Passes at a time. They wait for answers most of the time; requests have a limit of their own.
PASSES_AT_ONCE = 16
#: A pass that creates 1,000 workers while the API server is slow may take minutes, none takes more.
PASS_SECONDS = 300.0

#: Every object is looked at once in so long, whatever else happens: a change that went missing
#: costs time then, and no job. Not all at once, so that nobody has to wait for them.
RESYNC_SECONDS = 600.0
RESYNC_STEPS = 60

#: Told of each pass: its object, whether it succeeded, and how many seconds it took.
Told = Callable[[Key, bool, float], None]


def _nobody(_key: Key, _succeeded: bool, _seconds: float) -> None:
    """Tell nobody."""


class Passes:
    """Passes over all objects of a world, for as long as it runs.

    ``backend`` is what the passes work on, where that is not the world itself.
    """

    def __init__(
        self,
        world: World,
        *,
        backend: Backend | None = None,
        clock: Clock = machine_clock,
        now: Callable[[], datetime] = utc_now,
        told: Told = _nobody,
        covers: Callable[[str], bool] = lambda _namespace: True,
    ) -> None:
        self.queue: WorkQueue[Key] = WorkQueue(clock)
        self._world = world
        self._backend = world if backend is None else backend
        self._clock = clock
        self._now = now
        self._told = told
        self._covers = covers
        self._concurrency = PassConcurrency(clock)
        self._stirred = asyncio.Event()
        self._stopping = False

    def wake(self, key: Key, within: float = 0.0) -> None:
        """Have a pass made over an object soon: within so many seconds."""
        if self._covers(key.namespace) and self.queue.add(key, within):
            self._stirred.set()

    def hurry(self) -> None:
        """Have all that failed tried again soon."""
        self.queue.hurry()
        self._stirred.set()

    def stop(self) -> None:
        """Begin no more passes; ``run`` returns when those under way are finished."""
        self._stopping = True
        self._stirred.set()

    async def run(self) -> None:
        """Make passes over everything there is, and over what changes, until stopped."""
        for key in self._world.subjects():
            self.wake(key)
        async with asyncio.TaskGroup() as passes:
            resync = passes.create_task(self._resync())
            await self._make(passes)
            resync.cancel()

    async def _make(self, passes: asyncio.TaskGroup) -> None:
        free = asyncio.Semaphore(PASSES_AT_ONCE)
        while True:
            await free.acquire()
            key = await self._next()
            if key is None:
                return
            task = passes.create_task(self._look_at(key))
            task.add_done_callback(lambda _task: free.release())

    async def _next(self) -> Key | None:
        """Return the next object that is due; ``None``: no more passes are to begin."""
        while not self._stopping:
            key = self.queue.take()
            if key is not None:
                return key
            self._stirred.clear()
            try:
                async with asyncio.timeout(self.queue.seconds_until_due()):
                    await self._stirred.wait()
            except TimeoutError:
                continue
        return None

    async def _look_at(self, key: Key) -> None:
        """Make a pass over an object, and take note of when to make the next one."""
        started = self._clock()
        try:
            async with asyncio.timeout(PASS_SECONDS):
                wake_at = await reconcile(self._backend, key, self._now(), self._concurrency)
        except Exception as error:
            took = self._clock() - started
            self._told(key, False, took)
            wait = self.queue.failed(key, retryable=_may_pass(error))
            _log_failure(key, error, took, wait)
        except asyncio.CancelledError:
            self.queue.put_back(key)
            raise
        else:
            self._told(key, True, self._clock() - started)
            self._done(key, wake_at)
        finally:
            self._stirred.set()

    def _done(self, key: Key, wake_at: datetime | None) -> None:
        wake_in = None if wake_at is None else (wake_at - self._now()).total_seconds()
        self.queue.done(key, wake_in)
        logger.debug("looked at; %s", _next_look(wake_in), extra={"key": key})

    async def _resync(self) -> None:
        """Wake every object once in a while, a few at a time."""
        while True:
            keys = self._world.subjects()
            share = -(-len(keys) // RESYNC_STEPS)
            for step in range(RESYNC_STEPS):
                await asyncio.sleep(RESYNC_SECONDS / RESYNC_STEPS)
                for key in keys[step * share : (step + 1) * share]:
                    self.wake(key)


def _may_pass(error: Exception) -> bool:
    """Say whether an error is most likely an outage, after which all must soon go on.

    A missing permission is one too, of whoever grants it. A no to the very change that was asked
    for, as of an admission policy that guards what exists, is none.
    """
    return isinstance(error, DaskJobError) and not isinstance(error, Invalid | ChangeDenied)


def _next_look(wake_in: float | None) -> str:
    if wake_in is None:
        return "again when something changes"
    return f"again in {max(wake_in, 0.0):.1f} s, or when something changes"


def _log_failure(key: Key, error: Exception, took: float, wait: float) -> None:
    """Say what failed and what comes next, in one line; a bug of ours also with its place."""
    if isinstance(error, DaskJobError):
        logger.warning("%s; trying again in %.0f s", error, wait, extra={"key": key})
        return
    if isinstance(error, TimeoutError) and took >= PASS_SECONDS:
        what = f"the pass took more than {PASS_SECONDS:.0f} s and was given up"
    else:
        what = f"the pass broke: {_place_and_words(error)}"
    logger.error("%s; trying again in %.0f s", what, wait, exc_info=error, extra={"key": key})


def _place_and_words(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
