"""Look-ups of host names that block neither an event loop nor the end of a program."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress


async def addresses_of(host: str, port: int) -> list[str]:
    """Return the addresses of a name.

    In a thread of its own: one of the loop's executor would keep the program from ending while a
    name server does not answer.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def settle(addresses: list[str], error: OSError | None) -> None:
        if found.done():
            return
        if error is None:
            found.set_result(addresses)
        else:
            found.set_exception(error)

    def look_up() -> None:
        addresses: list[str] = []
        failure: OSError | None = None
        try:
            rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses = [str(row[4][0]) for row in rows]
        except UnicodeError:
            failure = OSError(f"{host!r} is no host name")
        except OSError as error:
            failure = error
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, addresses, failure)

    threading.Thread(target=look_up, name="daskjob-resolve", daemon=True).start()
    return await found
