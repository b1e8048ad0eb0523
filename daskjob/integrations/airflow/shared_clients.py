"""Clients that the triggers of one triggerer share: one connection, and one watch per namespace.

A client belongs to the cluster and the namespace that its triggers name. The first trigger opens
it, the last one closes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daskjob import AsyncJobClient

Make = Callable[[], Awaitable["AsyncJobClient"]]


@dataclass
class _Shared:
    making: asyncio.Task[AsyncJobClient]
    users: int = 0


#: By event loop and by what makes a client another one.
_shared: dict[tuple[asyncio.AbstractEventLoop, Hashable], _Shared] = {}


@asynccontextmanager
async def shared_client(key: Hashable, make: Make) -> AsyncIterator[AsyncJobClient]:
    """Lend the client of a key, made on first use in this event loop."""
    at = (asyncio.get_running_loop(), key)
    found = _shared.get(at)
    if found is None or _has_failed(found):
        found = _shared[at] = _Shared(asyncio.ensure_future(make()))
    found.users += 1
    try:
        # One that is cancelled does not cancel what others wait for.
        yield await asyncio.shield(found.making)
    finally:
        found.users -= 1
        if found.users == 0 and _shared.get(at) is found:
            del _shared[at]
            await asyncio.shield(_close(found))


def _has_failed(shared: _Shared) -> bool:
    task = shared.making
    return task.done() and (task.cancelled() or task.exception() is not None)


async def _close(shared: _Shared) -> None:
    if not shared.making.done():
        shared.making.cancel()
        await asyncio.wait({shared.making})
    if not _has_failed(shared):
        await shared.making.result().close()
