"""Whether an address answers, without blocking the event loop, whatever a name server does."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from daskjob.kube.host_names import addresses_of


async def answers(host: str, port: int, seconds: float) -> bool:
    """Return whether something accepts a connection at this address within the time."""
    try:
        async with asyncio.timeout(seconds):
            for address in await addresses_of(host, port):
                with suppress(OSError):
                    _, writer = await asyncio.open_connection(address, port)
                    writer.close()
                    with suppress(OSError):
                        await writer.wait_closed()
                    return True
    except (TimeoutError, OSError):
        return False
    return False
