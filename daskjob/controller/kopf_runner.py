"""kopf beside the operator, for users' plugins: their handlers, with all that kopf offers them.

The operator itself has no kopf handlers, so without plugins kopf is not even imported: no memory,
no request. With plugins it runs in a thread and a loop of its own, and only while this operator
leads, since of two operators' handlers each would do the same work. It may do there what it likes:
when it ends it takes every task of its loop with it, and it is started again, ever more rarely; a
plugin that blocks stops the other plugins and nobody else.

This is the one module that imports kopf, and only when it starts it.
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
#: kopf that ran for so long was well: the next start comes soon again.
SOUND_SECONDS = 60.0
#: How long kopf has to end: clean-up handlers of plugins, requests under way.
STOP_SECONDS = 3.0
#: How often its loop is asked for a sign of life; without one the log says that a plugin blocks.
BEAT_SECONDS = 30.0

#: kopf's own marker is what dask-kubernetes left on its objects, and the operator removes it there.
#: So that of a plugin with deletion handlers has another name.
FINALIZER = "kubernetes.dask.org/operator-plugin"


class Backoffs:
    """Waits between tries of a request, without an end: kopf gives up, and exits, after the last.

    It has no length on purpose: that is how kopf knows. It may be iterated again and again.
    """

    def __iter__(self) -> Iterator[float]:
        for step in itertools.count():
            yield min(2.0 ** min(step, 10), 30.0) * random.uniform(0.8, 1.2)


def harden(settings: kopf.OperatorSettings, namespaces: Namespaces) -> None:
    """Set what keeps kopf alive and its requests few; a plugin's start-up handler may change it.

    Measured for the defaults of kopf 1.45: it exits on an error that lasts for 54 s, on a watch it
    may not make, and waits for an answer for 5 minutes.
    """
    settings.peering.standalone = True
    # Its watches of CRDs and namespaces need rights over the whole cluster. Patterns need them too.
    settings.scanning.disabled = namespaces.everywhere or bool(namespaces.names)
    # The same for a start that streams: objects were lost when a connection broke in it.
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
    # It would kill the whole process, 10 minutes after it began to end.
    settings.process.ultimate_exiting_timeout = None


class KopfRunner:
    """kopf with users' plugins, under a supervisor."""

    def __init__(
        self, plugins: Sequence[Plugin], namespaces: Namespaces, liveness: str = ""
    ) -> None:
        self._plugins = plugins
        self._namespaces = namespaces
        #: Where kopf answers liveness probes, with what the plugins' ``@kopf.on.probe`` say;
        #: empty: nowhere. Those of the operator are its own.
        self._liveness = liveness
        self._loading: asyncio.Task[int] | None = None
        #: The run of kopf before this one: two would do everything twice.
        self._last: KopfThread | None = None
        #: One for all runs, since nobody shuts it down: synchronous handlers run in it.
        self._executor = ThreadPoolExecutor(thread_name_prefix="kopf-handler")

    async def run(self) -> None:
        """Run kopf until cancelled, again whenever it ends; without plugins do nothing."""
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
            failures = 1 if lasted >= SOUND_SECONDS else failures + 1
            wait = min(FIRST_WAIT_SECONDS * 2.0 ** min(failures - 1, 20), LONGEST_WAIT_SECONDS)
            wait *= random.uniform(0.8, 1.2)
            logger.warning("the plugins' handlers are started again in %.0f s", wait)
            await asyncio.sleep(wait)

    def _load(self) -> int:
        # Before any plugin, so that a kopf that cannot be imported is not blamed on them.
        import kopf  # noqa: F401

        logging.getLogger("kopf._core.reactor.running").addFilter(_is_news)
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
        words = f"{type(error).__name__}: {error}" if error else "without saying why"
        logger.error("kopf ended: %s", words, exc_info=error)
        return loop.time() - started

    def _operator(self, stop: asyncio.Event) -> Coroutine[None, None, None]:
        """Return kopf as a coroutine for the loop of its own thread."""
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


def _is_news(record: logging.LogRecord) -> bool:
    """Say whether kopf tells of something that is not so on purpose: signals are not for it."""
    return not record.getMessage().startswith("OS signals are ignored")


class KopfThread:
    """One run of kopf in a thread of its own."""

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
        """Return what kopf ended with; ``None``: with nothing. Meanwhile say when it is blocked."""
        blocked = False
        while True:
            answered = self._home.create_future()
            asked = self._call(functools.partial(self._tell_home, _settle, answered, None))
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
        """Have kopf end, and after so many seconds at once; else it dies with the process."""
        self._stopping = True
        self._call(self._raise_flag)
        await asyncio.wait([self._ended], timeout=seconds)
        if self._ended.done():
            return
        self._call(self._cancel)
        await asyncio.wait([self._ended], timeout=seconds / 3)
        if not self._ended.done():
            logger.warning("a plugin keeps kopf from ending; it is left behind")

    def _raise_flag(self) -> None:
        if self._stop is not None:
            self._stop.set()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _call(self, what: Callable[[], object]) -> bool:
        """Have something done in kopf's loop; return whether there is one, yet or still."""
        if self._loop is None:
            return False
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            return False
        return True

    def _tell_home(self, what: Callable[..., object], *args: object) -> None:
        try:
            self._home.call_soon_threadsafe(what, *args)
        except RuntimeError:
            # The operator is gone already.
            return

    def _main(self) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._guarded())
        except BaseException as raised:  # Also SystemExit, which a plugin may well raise.
            error = raised
        self._tell_home(_settle, self._ended, error)

    async def _guarded(self) -> None:
        self._stop = asyncio.Event()
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        # Said before there was a loop to say it to.
        if not self._stopping:
            await self._operator(self._stop)


def _settle(future: asyncio.Future[BaseException | None], result: BaseException | None) -> None:
    if not future.done():
        future.set_result(result)


async def _in_thread(work: Callable[[], int], what: str) -> int:
    """Return what some work returns that may block for ever; it dies with the process then."""
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
        logger.warning("%s: one is still being loaded; no handler runs before that", what)
