"""kopf alongside the operator, for the handlers of users' plugins.

The operator itself has no kopf handlers, so without plugins kopf is not even imported and costs no
memory and no requests. With plugins it runs in its own thread and event loop, and only while this
operator leads: two operators would run each handler twice. If it exits, which cancels every task of
its loop, it is restarted with a growing delay; a plugin that blocks stops only the other plugins.

This is the only module that imports kopf, and it does so only to start it.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import random
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from daskjob.controller.namespaces import Namespaces
from daskjob.controller.plugins import Plugin, load_plugins

if TYPE_CHECKING:
    import kopf

logger = logging.getLogger(__name__)

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
#: After a run of this length, the delay of the next restart is short again.
HEALTHY_SECONDS = 60.0
#: Time for kopf to stop: plugins' clean-up handlers and requests in flight.
STOP_SECONDS = 3.0
#: Interval of the heartbeat of its loop; a missing one is logged: a plugin blocks.
BEAT_SECONDS = 30.0

#: Finalizer for plugins with deletion handlers. It is not kopf's default: dask-kubernetes left that
#: one on its objects, and the operator removes it.
FINALIZER = "kubernetes.dask.org/operator-plugin"


class Backoffs:
    """Endless delays between retries of a request: kopf gives up, and exits, after the last one.

    It has no length on purpose: kopf takes that for endless. It can be iterated repeatedly.
    """

    def __iter__(self) -> Iterator[float]:
        for step in itertools.count():
            yield min(2.0 ** min(step, 10), 30.0) * random.uniform(0.8, 1.2)


def harden(settings: kopf.OperatorSettings, namespaces: Namespaces) -> None:
    """Keep kopf alive and its requests few; a plugin's start-up handler may change the settings.

    Measured with the defaults of kopf 1.45: it exits on an error that lasts 54 s and on a forbidden
    watch, and waits 5 minutes for a response.
    """
    settings.peering.standalone = True
    # Its watches of CRDs and namespaces need cluster-wide permissions, as patterns do.
    settings.scanning.disabled = namespaces.everywhere or bool(namespaces.names)
    # A streaming start lost objects when a connection broke.
    settings.watching.initial_streaming = False
    settings.watching.server_timeout = 300
    settings.watching.connect_timeout = 5
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 15
    settings.networking.connect_timeout = 5
    settings.networking.enforce_retry_after = True
    settings.networking.error_backoffs = Backoffs()
    settings.persistence.finalizer = FINALIZER
    # It would kill the whole process 10 minutes after kopf began to stop.
    settings.process.ultimate_exiting_timeout = None


class KopfRunner:
    """kopf with users' plugins, under a supervisor."""

    def __init__(
        self, plugins: Sequence[Plugin], namespaces: Namespaces, liveness: str = ""
    ) -> None:
        self._plugins = plugins
        self._namespaces = namespaces
        #: Address for kopf's liveness probe, which returns the results of ``@kopf.on.probe``
        #: handlers; empty: none. The operator has its own probes.
        self._liveness = liveness
        self._loading: asyncio.Task[int] | None = None
        #: The previous run of kopf, which must end first: two would run each handler twice.
        self._last: KopfThread | None = None
        #: Runs synchronous handlers; one for all runs, since it is never shut down.
        self._executor = ThreadPoolExecutor(thread_name_prefix="kopf-handler")

    async def run(self) -> None:
        """Run kopf until cancelled, and restart it if it exits; without plugins do nothing."""
        if not self._plugins:
            return
        if self._loading is None:
            self._loading = asyncio.create_task(_in_thread(self._load, "plugins"))
        if not await asyncio.shield(self._loading):
            logger.warning("no plugin could be loaded: kopf is not started")
            return
        failures = 0
        while True:
            lasted = await self._run_once()
            failures = 1 if lasted >= HEALTHY_SECONDS else failures + 1
            wait = min(FIRST_WAIT_SECONDS * 2.0 ** min(failures - 1, 20), LONGEST_WAIT_SECONDS)
            wait *= random.uniform(0.8, 1.2)
            logger.warning("restarting the plugins' handlers in %.0f s", wait)
            await asyncio.sleep(wait)

    def _load(self) -> int:
        # Before any plugin, so that a broken kopf is not reported as a broken plugin.
        import kopf  # noqa: F401

        logging.getLogger("kopf._core.reactor.running").addFilter(_is_relevant)
        return load_plugins(self._plugins)

    async def _run_once(self) -> float:
        """Run kopf until it ends; return for how many seconds it ran."""
        loop = asyncio.get_running_loop()
        if self._last is not None:
            await self._last.ended()
        started = loop.time()
        self._last = thread = KopfThread(self._operator)
        thread.start()
        try:
            error = await thread.ended()
        finally:
            await thread.stop(STOP_SECONDS)
        reason = f"{type(error).__name__}: {error}" if error else "without an error"
        logger.error("kopf ended: %s", reason, exc_info=error)
        return loop.time() - started

    def _operator(self, stop: asyncio.Event) -> Coroutine[None, None, None]:
        """Return kopf as a coroutine for the event loop of its thread."""
        import kopf

        settings = kopf.OperatorSettings()
        settings.execution.executor = self._executor
        harden(settings, self._namespaces)
        return kopf.operator(
            settings=settings,
            standalone=True,
            clusterwide=self._namespaces.everywhere,
            namespaces=self._namespaces.names or self._namespaces.patterns,
            liveness_endpoint=self._liveness or None,
            stop_flag=stop,
        )


def _is_relevant(record: logging.LogRecord) -> bool:
    """Return whether to log a record of kopf: that it gets no signals is intended."""
    return not record.getMessage().startswith("OS signals are ignored")


class KopfThread:
    """One run of kopf in its own thread."""

    def __init__(self, operator: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> None:
        self._operator = operator
        self._home = asyncio.get_running_loop()
        self._ended: asyncio.Future[BaseException | None] = self._home.create_future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._main, name="kopf", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def ended(self) -> BaseException | None:
        """Return the error that ended kopf, if any. Until then, log when its loop is blocked."""
        blocked = False
        while True:
            answered = self._home.create_future()
            asked = self._call(functools.partial(self._call_home, _settle, answered, None))
            done, _ = await asyncio.wait([self._ended], timeout=BEAT_SECONDS)
            if done:
                return self._ended.result()
            silent = asked and not answered.done()
            if silent and not blocked:
                logger.warning(
                    "a plugin blocks kopf's loop: no handler has run for %.0f s", BEAT_SECONDS
                )
            blocked = silent

    async def stop(self, seconds: float) -> None:
        """Stop kopf; cancel it after this many seconds; else its thread dies with the process."""
        self._stopping = True
        self._call(self._raise_flag)
        await asyncio.wait([self._ended], timeout=seconds)
        if self._ended.done():
            return
        self._call(self._cancel)
        await asyncio.wait([self._ended], timeout=seconds / 3)
        if not self._ended.done():
            logger.warning("a plugin prevents kopf from stopping; its thread is abandoned")

    def _raise_flag(self) -> None:
        if self._stop is not None:
            self._stop.set()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _call(self, what: Callable[[], object]) -> bool:
        """Call this in kopf's loop; return whether that loop is running."""
        if self._loop is None:
            return False
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            return False
        return True

    def _call_home(self, what: Callable[..., object], *args: object) -> None:
        try:
            self._home.call_soon_threadsafe(what, *args)
        except RuntimeError:
            # The operator has ended.
            return

    def _main(self) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._guarded())
        except BaseException as raised:  # Also SystemExit, which a plugin may well raise.
            error = raised
        self._call_home(_settle, self._ended, error)

    async def _guarded(self) -> None:
        self._stop = asyncio.Event()
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        # ``stop`` may have been called before the loop existed.
        if not self._stopping:
            await self._operator(self._stop)


def _settle(future: asyncio.Future[BaseException | None], result: BaseException | None) -> None:
    if not future.done():
        future.set_result(result)


async def _in_thread(work: Callable[[], int], what: str) -> int:
    """Run work that may block forever, and return its result; its thread is a daemon."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()

    def settle(result: int) -> None:
        if not future.done():
            future.set_result(result)

    def main() -> None:
        try:
            result = work()
        except Exception as error:
            logger.error("%s could not be loaded: %s", what, error, exc_info=error)
            result = 0
        try:
            loop.call_soon_threadsafe(settle, result)
        except RuntimeError:
            return

    threading.Thread(target=main, name=what, daemon=True).start()
    while True:
        done, _ = await asyncio.wait([future], timeout=BEAT_SECONDS)
        if done:
            return future.result()
        logger.warning("%s: one is still being loaded; handlers start after that", what)
