"""The bridge from blocking calls to coroutines: one thread with an event loop per process.

A call ends when its coroutine has ended. Whatever is raised in the caller meanwhile, Ctrl-C or the
handler of a signal, cancels the coroutine first: nothing goes on behind the caller's back.

A fork copies the thread's state, not the thread. The child has a thread of its own from its first
call on; connections that the parent opened stay the parent's.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

from daskjob.core.errors import DaskJobError

T = TypeVar("T")

#: How long a cancelled coroutine may take to end.
CANCEL_SECONDS = 5.0
#: How often a waiting thread looks for signals; Python misses one that comes right before a wait.
WAKE_SECONDS = 0.5
#: How long everything may take to close at the exit of the process.
EXIT_SECONDS = 2.0


class WouldBlock(DaskJobError, RuntimeError):
    """A blocking call inside a running event loop, which would stop everything else in it."""


class Bridge:
    """A thread with an event loop, and the calls that run in it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, name="daskjob", daemon=True)
        self._thread.start()

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine to its end, and return its result or raise its error."""
        call = _Call(self._loop, make)
        try:
            # Within: a signal may come as soon as it has started.
            call.start()
            return call.result()
        except BaseException:
            call.cancel()
            raise

    def start(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine, which never fails, without waiting for it."""
        self._loop.call_soon_threadsafe(self._start, make)

    def close(self) -> None:
        """Wait a moment for what was started, cancel everything else, and end the thread."""
        self.call(self._started)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(EXIT_SECONDS)

    def _start(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = self._loop.create_task(make())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _started(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=EXIT_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        running = asyncio.all_tasks(self._loop)
        for task in running:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*running, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


class _Call(Generic[T]):
    """A coroutine in the loop of another thread.

    The handler of a signal may raise anywhere in the caller, also between taking a lock and the
    block that releases it. So the two threads share one bare lock, which only the loop releases.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, make: Callable[[], Coroutine[Any, Any, T]]
    ) -> None:
        self._loop = loop
        self._make = make
        self._task: asyncio.Task[T] | None = None
        self._cancelled = False
        self._result: T
        self._error: BaseException | None = None
        self._ended = threading.Lock()
        self._ended.acquire()

    def start(self) -> None:
        """Start the coroutine."""
        self._loop.call_soon_threadsafe(self._start)

    def result(self) -> T:
        """Wait for the end of the coroutine; return its result, or raise its error."""
        while not self._ended.acquire(timeout=WAKE_SECONDS):
            pass
        if self._error is not None:
            raise self._error
        return self._result

    def cancel(self) -> None:
        """Cancel the coroutine unless it has ended; return once it has."""
        self._loop.call_soon_threadsafe(self._cancel)
        try:
            self._ended.acquire(timeout=CANCEL_SECONDS)
        except BaseException:  # the first exception is the one to raise
            pass

    def _start(self) -> None:
        if self._cancelled:
            self._end(asyncio.CancelledError())
            return
        self._task = self._loop.create_task(self._make())
        self._task.add_done_callback(self._finish)

    def _cancel(self) -> None:
        self._cancelled = True
        if self._task is None or self._task.done():
            # It never starts, or has ended; the caller may have missed that.
            self._end(self._error)
        else:
            self._task.cancel()

    def _finish(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self._end(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self._end(error)
        else:
            self._result = task.result()
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        self._error = error
        if self._ended.locked():
            self._ended.release()


#: The bridge of each process, by its id. Those of the processes from which this one was forked are
#: kept, so that nothing of them is finalized here: it belongs to them.
_bridges: dict[int, Bridge] = {}


def bridge() -> Bridge:
    """Return the bridge of this process."""
    process = os.getpid()
    found = _bridges.get(process)
    if found is not None:
        return found
    made = Bridge()
    # Without a lock, which an exception of a signal handler, or a fork, could leave taken.
    first = _bridges.setdefault(process, made)
    if first is not made:
        made.close()
    return first


def _at_exit() -> None:
    # A client that is finalized later, at the very end of the process, finds none to close in.
    found = _bridges.pop(os.getpid(), None)
    if found is not None:
        found.close()


atexit.register(_at_exit)


def run(make: Callable[[], Coroutine[Any, Any, T]], *, name: str) -> T:
    """Run a coroutine from a blocking call.

    Raises
    ------
    WouldBlock
        This thread runs an event loop; the message names the asynchronous form of ``name``.
    """
    check_no_loop(name)
    return bridge().call(make)


def start(make: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine in the background, if this process has a bridge."""
    found = _bridges.get(os.getpid())
    if found is not None:
        found.start(make)


def iterate(make: Callable[[], AsyncGenerator[T, None]], *, name: str) -> Iterator[T]:
    """Iterate over what an asynchronous generator yields; it is closed with the iterator."""
    check_no_loop(name)
    return _iterated(make, name)


def _iterated(make: Callable[[], AsyncGenerator[T, None]], name: str) -> Iterator[T]:
    generator = make()
    process = os.getpid()
    try:
        while True:
            try:
                item = run(lambda: _step(generator), name=name)
            except StopAsyncIteration:
                return
            yield item
    finally:
        # In the child of a fork, it is the parent's.
        if os.getpid() == process:
            bridge().call(lambda: _close(generator))


async def _step(generator: AsyncGenerator[T, None]) -> T:
    return await anext(generator)


async def _close(generator: AsyncGenerator[Any, None]) -> None:
    await generator.aclose()


def check_no_loop(name: str) -> None:
    """Raise ``WouldBlock`` if this thread runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise WouldBlock(f"{name} would block the running event loop; use Async{name}")
