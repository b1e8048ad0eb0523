"""The end of the process: clusters that are still open are closed, and nothing is printed."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread  # noqa: F401 - its hook must run after ours, so it comes first
import logging
import os
import threading
import time
from contextlib import suppress
from typing import Any, Protocol

#: How long all clusters together may take to be deleted.
SECONDS = 10.0
#: For each cluster, where others have taken all of that.
LEAST_SECONDS = 0.5


class Open(Protocol):
    """A cluster that may have to be closed at the end of the process."""

    process: int

    def in_own_loop(self, seconds: float) -> bool:
        """Close it in its own loop; return whether that was possible."""
        ...

    async def elsewhere(self) -> None:
        """Delete what it made, from any loop."""
        ...


_open: dict[int, Open] = {}


def opened(cluster: Open) -> None:
    """Note that a cluster may have to be closed."""
    _open[id(cluster)] = cluster


def closed(cluster: Open) -> None:
    """Note that nothing of a cluster is left to be closed."""
    _open.pop(id(cluster), None)


def end_all() -> None:
    """Close all open clusters of this process."""
    mine = [cluster for cluster in _open.values() if cluster.process == os.getpid()]
    _open.clear()
    if not mine:
        return
    # What fails now cannot be acted on: the lease ends what stays.
    for name in ("asyncio", "distributed", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    with suppress(BaseException):
        _end(mine)


def _end(clusters: list[Open]) -> None:
    left = []
    over = time.monotonic() + SECONDS
    for cluster in clusters:
        done = False
        with suppress(Exception):
            done = cluster.in_own_loop(max(over - time.monotonic(), LEAST_SECONDS))
        if not done:
            left.append(cluster)
    if left:
        with suppress(Exception):
            seconds = max(over - time.monotonic(), LEAST_SECONDS)
            asyncio.run(_elsewhere(left, seconds))


async def _elsewhere(clusters: list[Open], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await asyncio.gather(*(one.elsewhere() for one in clusters), return_exceptions=True)


def _register() -> None:
    # Before the threads of executors end, without which no name can be resolved. An ``atexit``
    # function comes after that.
    register: Any = getattr(threading, "_register_atexit", None)
    with suppress(Exception):
        if register is not None:
            register(end_all)
    atexit.register(end_all)


_register()
