"""What opens connections, and has closed them all when it says so."""

from __future__ import annotations

import asyncio
import socket
import weakref
from typing import Any

import aiohttp

#: A peer that does not say goodbye in this time is not waited for.
GOODBYE_SECONDS = 2.0


class Connector(aiohttp.TCPConnector):
    """A connector whose end is the end of its connections, with no limit to their number.

    aiohttp's own forgets the connection of an answer that was left before its end, as every watch
    is: TLS still says goodbye on it, and a loop that ends before that leaves the socket open.
    """

    def __init__(self, *, keepalive_timeout: float = 15.0) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        # Watches would use a limit up, and then nothing could be asked any more.
        super().__init__(
            limit=0, keepalive_timeout=keepalive_timeout, socket_factory=self._make_socket
        )

    def _make_socket(self, address: Any) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        self._sockets.add(made)
        return made

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close all connections, and return when they are, or when nobody answers any more."""
        await super().close(abort_ssl=abort_ssl)
        loop = asyncio.get_running_loop()
        give_up = loop.time() + GOODBYE_SECONDS
        while any(made.fileno() >= 0 for made in self._sockets) and loop.time() < give_up:
            await asyncio.sleep(0.005)
