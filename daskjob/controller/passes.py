"""The loop of passes: take the objects that are due, and make each due again when its pass says so.

At most 16 passes run at a time, and one per object; each watched namespace has its own 16. A failed
pass, whatever the error, affects only its object, which backs off, and is logged. This is the only
place that catches ``Exception``.
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
from daskjob.core.errors import AnswerPending, ChangeDenied, DaskJobError, Invalid
from daskjob.core.manifests import Key
from daskjob.core.reconcile import reconcile

logger = logging.getLogger(__name__)

#: Passes at a time. They mostly wait for responses; requests have their own rate limit.
PASSES_AT_ONCE = 16
#: The longest pass: creating 1,000 workers on a slow API server may take minutes.
PASS_SECONDS = 300.0
#: When an object is looked at again whose pass needs an answer, should that not wake it: later than
#: any scheduler may answer.
ANSWER_SECONDS = 5.0

#: Interval of a pass over every object, changed or not: a lost change delays a job but does not
#: lose it. Spread over the interval, so that other passes need not wait.
RESYNC_SECONDS = 600.0
RESYNC_STEPS = 60

#: Called after each pass with its object, whether it succeeded, and its duration in seconds.
OnPass = Callable[[Key, bool, float], None]


def _ignore(_key: Key, _succeeded: bool, _seconds: float) -> None:
    """Do nothing."""


class Passes:
    """Passes over all objects of a world, until stopped.

    ``backend`` is the backend of the passes, if it is not the world itself. ``concurrency`` is
    shared by all passes of the process.
    """

    def __init__(
        self,
        world: World,
        *,
        backend: Backend | None = None,
        clock: Clock = machine_clock,
        now: Callable[[], datetime] = utc_now,
        on_pass: OnPass = _ignore,
        covers: Callable[[str], bool] = lambda _namespace: True,
        concurrency: PassConcurrency | None = None,
    ) -> None:
        self.queue: WorkQueue[Key] = WorkQueue(clock)
        self._world = world
        self._backend = world if backend is None else backend
        self._clock = clock
        self._now = now
        self._on_pass = on_pass
        self._covers = covers
        self._concurrency = concurrency or PassConcurrency(clock)
        self._changed = asyncio.Event()
        self._stopping = False

    def wake(self, key: Key, within: float = 0.0) -> None:
        """Have a pass made over an object within this many seconds."""
        if self._covers(key.namespace) and self.queue.add(key, within):
            self._changed.set()

    def hurry(self) -> None:
        """Have all failed objects retried soon."""
        self.queue.hurry()
        self._changed.set()

    def stop(self) -> None:
        """Begin no more passes; ``run`` returns when those in progress have finished."""
        self._stopping = True
        self._changed.set()

    async def run(self) -> None:
        """Make passes over all objects, and over each one that changes, until stopped."""
        for key in self._subjects():
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
        """Wait for the next object that is due and return it; ``None``: stopped."""
        while not self._stopping:
            key = self.queue.take()
            if key is not None:
                return key
            self._changed.clear()
            try:
                async with asyncio.timeout(self.queue.seconds_until_due()):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return None

    async def _look_at(self, key: Key) -> None:
        """Make a pass over an object, and record when the next one is due."""
        started = self._clock()
        try:
            async with asyncio.timeout(PASS_SECONDS):
                wake_at = await reconcile(self._backend, key, self._now(), self._concurrency)
        except AnswerPending:
            self.queue.set_aside(key, ANSWER_SECONDS)
        except Exception as error:
            took = self._clock() - started
            self._on_pass(key, False, took)
            wait = self.queue.failed(key, retryable=_is_outage(error))
            _log_failure(key, error, took, wait)
        except asyncio.CancelledError:
            self.queue.put_back(key)
            raise
        else:
            self._on_pass(key, True, self._clock() - started)
            self._done(key, wake_at)
        finally:
            self._changed.set()

    def _done(self, key: Key, wake_at: datetime | None) -> None:
        wake_in = None if wake_at is None else (wake_at - self._now()).total_seconds()
        self.queue.done(key, wake_in)
        logger.debug("pass done; %s", _next_pass(wake_in), extra={"key": key})

    def _subjects(self) -> list[Key]:
        return [key for key in self._world.subjects() if self._covers(key.namespace)]

    async def _resync(self) -> None:
        """Wake every object once per interval, a few at a time."""
        while True:
            keys = self._subjects()
            share = -(-len(keys) // RESYNC_STEPS)
            for step in range(RESYNC_STEPS):
                await asyncio.sleep(RESYNC_SECONDS / RESYNC_STEPS)
                for key in keys[step * share : (step + 1) * share]:
                    self.wake(key)


def _is_outage(error: Exception) -> bool:
    """Return whether an error is most likely an outage, after which work must resume soon.

    A missing permission counts as one: it may be granted at any time. A rejection of this very
    change, for example by an admission policy that protects existing objects, does not.
    """
    return isinstance(error, DaskJobError) and not isinstance(error, Invalid | ChangeDenied)


def _next_pass(wake_in: float | None) -> str:
    if wake_in is None:
        return "next on a change"
    return f"next in {max(wake_in, 0.0):.1f} s, or on a change"


def _log_failure(key: Key, error: Exception, took: float, wait: float) -> None:
    """Log what failed and when it is retried, in one line; a bug of daskjob with its location."""
    if isinstance(error, DaskJobError):
        logger.warning("%s; trying again in %.0f s", error, wait, extra={"key": key})
        return
    if isinstance(error, TimeoutError) and took >= PASS_SECONDS:
        what = f"the pass took more than {PASS_SECONDS:.0f} s and was cancelled"
    else:
        what = f"the pass failed: {_located(error)}"
    logger.error("%s; trying again in %.0f s", what, wait, exc_info=error, extra={"key": key})


def _located(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
