"""Slots for requests in flight, shared fairly by namespaces.

A tenant's scheduler may accept a connection and never answer. Its requests hold slots until they
time out, so each namespace may hold only a few, and namespaces that wait take turns.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairSlots:
    """``total`` slots; a namespace holds at most ``each`` of them."""

    def __init__(self, total: int, each: int) -> None:
        self._free = total
        self._each = each
        self._held: Counter[str] = Counter()
        #: By namespace, the one whose turn is next first; within one in the order of requests.
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of namespaces that hold or wait for a slot."""
        return len(self._held.keys() | self._waiting.keys())

    @asynccontextmanager
    async def slot(self, namespace: str) -> AsyncIterator[None]:
        """Hold a slot, as soon as one is free and it is this namespace's turn."""
        await self._acquire(namespace)
        try:
            yield
        finally:
            self._release(namespace)

    async def _acquire(self, namespace: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(namespace, deque()).append(turn)
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # It was granted and cancelled at the same moment.
                self._release(namespace)
            else:
                self._leave(namespace, turn)
            raise

    def _leave(self, namespace: str, turn: asyncio.Future[None]) -> None:
        waiting = self._waiting.get(namespace)
        if waiting is not None and turn in waiting:
            waiting.remove(turn)
            if not waiting:
                del self._waiting[namespace]

    def _release(self, namespace: str) -> None:
        self._free += 1
        self._held[namespace] -= 1
        if not self._held[namespace]:
            del self._held[namespace]
        self._grant()

    def _grant(self) -> None:
        """Give free slots to those that wait, one namespace after another."""
        while self._free and (namespace := self._next()) is not None:
            waiting = self._waiting[namespace]
            turn = waiting.popleft()
            if waiting:
                self._waiting.move_to_end(namespace)
            else:
                del self._waiting[namespace]
            if not turn.done():
                self._free -= 1
                self._held[namespace] += 1
                turn.set_result(None)

    def _next(self) -> str | None:
        held = self._held
        return next((name for name in self._waiting if held.get(name, 0) < self._each), None)
