"""Carries connections to a server on loopback: ``relay ADDRESS PORT TARGET_PORT``.

The pods of a native cluster reach this machine at the address of their link to it alone.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress


async def relay(address: str, port: int, target: int) -> None:
    """Listen until the process ends."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(copy(reader, back), copy(there, writer))

    listening = await asyncio.start_server(carry, address, port)
    await listening.serve_forever()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(relay(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
