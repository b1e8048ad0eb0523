"""Tasks of the operator: kept running, run alongside a block, bounded at the shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine

from daskjob.core.errors import DaskJobError

logger = logging.getLogger(__name__)

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0


async def kept_running(what: str, run: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run something that should never fail, and restart it if it does.

    Errors of single objects are caught by ``passes``. This is for unexpected ones.
    """
    wait = FIRST_WAIT_SECONDS
    while True:
        started = time.monotonic()
        try:
            await run()
        except Exception as error:
            if time.monotonic() - started >= LONGEST_WAIT_SECONDS:
                wait = FIRST_WAIT_SECONDS
            reason = f"{type(error).__name__}: {error}"
            logger.error("%s failed: %s; restarting in %.0f s", what, reason, wait, exc_info=error)
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))
            wait = min(wait * 2, LONGEST_WAIT_SECONDS)
        else:
            return


@contextlib.asynccontextmanager
async def alongside(work: Coroutine[None, None, object]) -> AsyncIterator[asyncio.Task[object]]:
    """Run some work alongside a block, and cancel it at the end of the block."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def bounded(work: Coroutine[None, None, object], seconds: float) -> None:
    """Run a step of the shutdown, with a time limit: it must not block the exit."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except (DaskJobError, OSError) as error:
        logger.info("incomplete shutdown: %s", str(error) or "timed out")
