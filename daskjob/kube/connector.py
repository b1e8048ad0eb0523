"""A connector of aiohttp whose ``close`` returns only after its sockets are closed."""

from __future__ import annotations

import asyncio
import socket
import weakref
from typing import Any

import aiohttp

#: How long to wait for peers to complete the TLS shutdown.
SHUTDOWN_SECONDS = 2.0


class Connector(aiohttp.TCPConnector):
    """A connector that waits for its connections to close, without a limit to their number.

    aiohttp's own loses track of the connection of a response that was not read to its end, as that
    of every watch: its TLS shutdown is still running, and if the event loop ends before that, the
    socket stays open.
    """

    def __init__(self, *, keepalive_timeout: float = 15.0) -> None:
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        # Watches would use up a limit, and then no other request could be sent.
        super().__init__(
            limit=0, keepalive_timeout=keepalive_timeout, socket_factory=self._make_socket
        )

    def _make_socket(self, address: Any) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        self._sockets.add(made)
        return made

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close all connections; return once they are closed, or after ``SHUTDOWN_SECONDS``."""
        await super().close(abort_ssl=abort_ssl)
        loop = asyncio.get_running_loop()
        give_up = loop.time() + SHUTDOWN_SECONDS
        while any(made.fileno() >= 0 for made in self._sockets) and loop.time() < give_up:
            await asyncio.sleep(0.005)
