"""A relay of bytes before an API server, whose connections can be cut: also TLS and websockets.

``tests/cluster/proxy.py`` understands requests; this one knows nothing of what it carries.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

from daskjob.kube.access import Access

LOOPBACK = "127.0.0.1"


class Relay:
    """The relay; open it with ``relay_to``."""

    def __init__(self, access: Access) -> None:
        parts = urlsplit(access.server)
        self._server = (parts.hostname or "", parts.port or 443)
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self.port = 0
        self._upstream = access

    @property
    def access(self) -> Access:
        """The way through the relay; the server's certificate is checked all the same."""
        server = f"https://{LOOPBACK}:{self.port}"
        name = self._upstream.server_name or self._server[0]
        return replace(self._upstream, server=server, server_name=name)

    def freeze(self) -> None:
        """Carry nothing more, without an error: as after a machine has slept."""
        self._passing.clear()

    async def listen(self) -> None:
        """Accept connections, always on the same port."""
        self._listening = await asyncio.start_server(self._accept, LOOPBACK, self.port)
        self.port = self._listening.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Break all connections."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Refuse connections, and break all existing ones."""
        assert self._listening is not None
        self._listening.close()
        await self.cut()

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Be unavailable during the block."""
        await self.close()
        yield
        await self.listen()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._server)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._copy(reader, up_writer))
                tasks.create_task(self._copy(up_reader, writer))
        except* OSError:
            pass
        finally:
            for each in (writer, up_writer):
                each.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._passing.wait()
            writer.write(data)
            await writer.drain()
        writer.write_eof()


@asynccontextmanager
async def relay_to(access: Access) -> AsyncIterator[Relay]:
    """Relay to an API server during the block."""
    found = Relay(access)
    await found.listen()
    try:
        yield found
    finally:
        await found.close()
