"""The HTTP server of the operator: liveness, readiness, metrics.

A server of a hundred lines: three paths, GET and HEAD, one response per connection. It is for the
kubelet and Prometheus, and limited for all other clients: requests of 8 KiB, 5 s, 32 at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

logger = logging.getLogger(__name__)

HEALTHZ, READYZ, METRICS = "/healthz", "/readyz", "/metrics"

REQUEST_LIMIT_BYTES = 8192
REQUEST_SECONDS = 5.0
CONNECTIONS = 32

#: Time without a watch event or relist, or without a pass although one is due, to be unhealthy.
TOO_LONG_SECONDS = 120.0

_PHRASES = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to a request."""

    code: int
    text: str
    content_type: str = "text/plain; charset=utf-8"


Route: TypeAlias = Callable[[], Answer]


@dataclass(frozen=True, slots=True)
class Address:
    """An address to listen on, with the path of the liveness probe."""

    host: str
    port: int
    path: str = HEALTHZ

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def address_of(url: str, path: str = HEALTHZ) -> Address:
    """Return the address of a URL such as ``http://0.0.0.0:8080/healthz``.

    Raises
    ------
    ValueError
        It is not an ``http`` URL.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.netloc:
        raise ValueError(f"{url!r} is not a URL to listen on; write http://0.0.0.0:8080{path}")
    # As in kopf: without a host only this machine, without a port that of HTTP.
    host = parts.hostname or "localhost"
    given = parts.path if parts.path not in ("", "/") else path
    return Address(host, 80 if parts.port is None else parts.port, given)


def health(silent_seconds: float, stuck_seconds: float) -> Answer:
    """Return whether the operator is alive or should be restarted."""
    problems = []
    if silent_seconds >= TOO_LONG_SECONDS:
        problems.append(f"no watch event and no relist for {silent_seconds:.0f} s")
    if stuck_seconds >= TOO_LONG_SECONDS:
        problems.append(f"passes are due, but none has run for {stuck_seconds:.0f} s")
    if problems:
        return Answer(503, "".join(f"{problem}\n" for problem in problems))
    return Answer(200, "ok\n")


@contextlib.asynccontextmanager
async def serving(
    addresses: Iterable[Address], routes: Mapping[str, Route]
) -> AsyncIterator[list[Address]]:
    """Serve these paths at these addresses, as long as the block runs.

    Yields the addresses with the actual ports (0 means any).

    Raises
    ------
    OSError
        An address cannot be used, for example because it is in use.
    """
    async with contextlib.AsyncExitStack() as stack:
        bound: dict[tuple[str, int], tuple[Address, dict[str, Route]]] = {}
        for address in addresses:
            # Liveness is also served at the requested path, in addition to the common ones.
            _, paths = bound.setdefault((address.host, address.port), (address, dict(routes)))
            if address.path not in paths and HEALTHZ in routes:
                paths[address.path] = routes[HEALTHZ]
        used = []
        for address, paths in bound.values():
            connections = _Connections(paths)
            server = await asyncio.start_server(
                connections.begin, address.host, address.port, limit=REQUEST_LIMIT_BYTES
            )
            stack.push_async_callback(connections.end)
            stack.callback(server.close)
            port = server.sockets[0].getsockname()[1]
            used.append(Address(address.host, port, address.path))
        yield used


class _Connections:
    """The connections to one address."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = routes
        self._open: set[asyncio.Task[None]] = set()

    def begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one request, unless too many are in progress."""
        if len(self._open) >= CONNECTIONS:
            writer.close()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def end(self) -> None:
        """Close all open connections."""
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                await self._answer(reader, writer)
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            # The client disconnected, sent too much, or took too long: it gets no response.
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first = head.split(b"\r\n", 1)[0].decode("latin-1").split()
        if len(first) != 3 or not first[2].startswith("HTTP/1."):
            method, answer = "GET", Answer(400, "this is not an HTTP request\n")
        else:
            method, answer = first[0], self._find(first[0], first[1])
        body = answer.text.encode()
        lines = [
            f"HTTP/1.1 {answer.code} {_PHRASES[answer.code]}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "Connection: close",
        ]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        if method != "HEAD":
            writer.write(body)
        await writer.drain()

    def _find(self, method: str, target: str) -> Answer:
        if method not in ("GET", "HEAD"):
            return Answer(405, "only GET and HEAD are supported\n")
        route = self._routes.get(urlsplit(target).path)
        return route() if route else Answer(404, f"try {', '.join(self._routes)}\n")
