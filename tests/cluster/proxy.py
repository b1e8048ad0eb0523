"""A proxy in front of a real API server that injects faults.

Requests are forwarded unchanged, as plain HTTP on a loopback port, and recorded. A rule injects a
fault into the requests that it matches: a response that the server never sent, a connection that
breaks before or after the server executes the request, a watch that becomes silent.

::

    async with FaultProxy(await credentials.access()) as proxy:
        proxy.on(answer(429, retry_after=2), verb="create", times=3)
        proxy.on(before(kill_operator), when=lambda request: request.writes, skip=4)
        ...
        proxy.cut_watches()
        assert len(proxy.requests("watch", "pods")) == 2

A fault is a coroutine function of a ``Passage``: it may forward the request, or not, before or
after anything else (``Passage.forward``). It never changes the order of events: this proxy cannot
do what a real server cannot, such as duplicate or reordered events.
"""

from __future__ import annotations

import asyncio
import io
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import aiohttp
from aiohttp import web
from yarl import URL

from daskjob.kube.access import Access
from daskjob.kube.connector import Connector

LOOPBACK = "127.0.0.1"
#: Headers of a single connection, or that the two libraries write themselves.
_HOP_BY_HOP = {"host", "connection", "content-length", "transfer-encoding", "keep-alive"}
_WRITES = {"create", "update", "patch", "delete", "deletecollection"}


@dataclass
class Request:
    """A request, and its outcome."""

    verb: str
    resource: str
    namespace: str
    name: str
    subresource: str
    #: Its time, by ``time.monotonic``.
    at: float
    headers: dict[str, str]
    query: dict[str, str]
    body: bytes = b""
    #: The status code that the client got; 0: none.
    code: int = 0
    #: Whether it was sent to the API server.
    forwarded: bool = False

    @property
    def writes(self) -> bool:
        """Whether it may change something."""
        return self.verb in _WRITES

    @property
    def streams(self) -> bool:
        """Whether the response comes bit by bit: a watch, or a log."""
        return self.verb == "watch" or self.subresource == "log"


@dataclass
class Passage:
    """A request in the proxy, as the interface for faults."""

    request: Request
    _http: web.BaseRequest
    _proxy: FaultProxy
    #: If true, events of a watch are dropped: they are neither forwarded nor kept.
    silent: bool = False
    #: The number of bytes of a watch or a log after which the connection breaks.
    breaks_after: int | None = None
    #: Whether the response then ends as if it were complete.
    breaks_cleanly: bool = False
    _down: web.StreamResponse | None = None

    async def forward(self) -> web.StreamResponse:
        """Forward the request, and its response."""
        async with self._asked() as answer:
            return await self._pass_on(answer)

    async def commit(self) -> None:
        """Forward the request, without a response to the client."""
        async with self._asked() as answer:
            await answer.read()

    def _asked(self) -> Any:
        self.request.forwarded = True
        return self._proxy.ask(self._http, self.request.body)

    async def _pass_on(self, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        if self.request.streams and answer.status == 200:
            return await self._pass_stream_on(answer)
        body = await answer.read()
        self.request.code = answer.status
        return web.Response(status=answer.status, headers=_passed(answer.headers), body=body)

    async def _pass_stream_on(self, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        down = await self.begin_watch()
        self._proxy.watching.append(self)
        try:
            async for chunk in answer.content.iter_any():
                if self.breaks_after is not None and len(chunk) >= self.breaks_after:
                    await down.write(chunk[: self.breaks_after])
                    # The data must be sent before the connection breaks.
                    await asyncio.sleep(0.01)
                    if not self.breaks_cleanly:
                        self.cut()
                    break
                if self.breaks_after is not None:
                    self.breaks_after -= len(chunk)
                if not self.silent:
                    await down.write(chunk)
            if self.silent:
                # The server ended it, but the client of a half-open connection does not see that.
                await self._proxy.closing.wait()
        except (aiohttp.ClientError, ConnectionError):
            self.cut()
        finally:
            if self in self._proxy.watching:
                self._proxy.watching.remove(self)
        return down

    async def begin_watch(self) -> web.StreamResponse:
        """Respond to a watch or a log with 200, and leave it open."""
        self.request.code = 200
        self._down = web.StreamResponse(headers={"Content-Type": "application/json"})
        self._down.enable_chunked_encoding()
        await self._down.prepare(self._http)
        return self._down

    def cut(self) -> None:
        """Break the connection, as if the other end crashed: with a reset, in mid-message."""
        transport = self._http.transport
        if transport is None:
            return
        stream = transport.get_extra_info("socket")
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    async def say(self, line: dict[str, Any]) -> None:
        """Insert a line into an open watch."""
        assert self._down is not None, "the watch is not open"
        await self._down.write(json.dumps(line).encode() + b"\n")


Fault: TypeAlias = Callable[[Passage], Awaitable[web.StreamResponse]]
Condition: TypeAlias = Callable[[Request], bool]


@dataclass
class Rule:
    """Injects a fault into a range of matching requests."""

    fault: Fault
    when: Condition
    #: The number of matches to forward, then the number to fail; ``None``: all further ones.
    skip: int = 0
    times: int | None = 1
    #: The number of injected faults so far.
    hits: int = 0

    def applies(self, request: Request) -> bool:
        """Return whether to inject the fault into this request, and count it."""
        if not self.when(request) or self.hits == self.times:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.hits += 1
        return True

    def end(self) -> None:
        """Forward all further requests."""
        self.times = self.hits


@dataclass
class FaultProxy:
    """The proxy; open it with ``async with``, in the event loop that should serve it."""

    access: Access
    #: All requests, in order.
    seen: list[Request] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    #: Watches and logs that are open now.
    watching: list[Passage] = field(default_factory=list)
    port: int = 0

    async def __aenter__(self) -> FaultProxy:
        self.closing = asyncio.Event()
        self._session = aiohttp.ClientSession(connector=Connector(), auto_decompress=False)
        self._server = web.Server(self._serve, access_log=None)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.1)
        await self._runner.setup()
        await self._listen()
        return self

    async def _listen(self) -> None:
        self._platform = web.TCPSite(self._runner, LOOPBACK, self.port)
        await self._platform.start()
        self.port = self._runner.addresses[0][1]

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.closing.set()
        self.cut_watches()
        await self._runner.cleanup()
        await self._session.close()

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Be unavailable during the block: every connection breaks, and new ones are refused."""
        await self._platform.stop()
        for handler in self._server.connections:
            if handler.transport is not None:
                handler.transport.abort()
        yield
        await self._listen()

    @property
    def url(self) -> str:
        """The URL of the proxy."""
        return f"http://{LOOPBACK}:{self.port}"

    def write_kubeconfig(self, path: Path, token: str = "") -> Path:
        """Write a kubeconfig for the proxy.

        A token is forwarded to the server, which uses it only if the proxy's own credentials are
        not a client certificate; without a token, clients have the proxy's identity.
        """
        user = {"token": token} if token else {}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": self.url}}],
            "users": [{"name": "proxy", "user": user}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
        }
        path.write_text(json.dumps(config))
        return path

    def on(
        self,
        fault: Fault,
        *,
        verb: str = "",
        resource: str = "",
        when: Condition | None = None,
        skip: int = 0,
        times: int | None = 1,
    ) -> Rule:
        """Inject a fault into matching requests: the next one, or ``times`` after ``skip``."""

        def matches(request: Request) -> bool:
            return (
                verb in ("", request.verb)
                and resource in ("", request.resource)
                and (when is None or when(request))
            )

        rule = Rule(fault, matches, skip, times)
        self.rules.append(rule)
        return rule

    def requests(self, verb: str = "", resource: str = "") -> list[Request]:
        """Return the requests with this verb and resource."""
        return [
            request
            for request in self.seen
            if verb in ("", request.verb) and resource in ("", request.resource)
        ]

    def cut_watches(self, resource: str = "") -> None:
        """Break the connections of all open watches."""
        for passage in self._watching(resource):
            passage.cut()

    def silence_watches(self, resource: str = "") -> None:
        """Make all open watches half-open: no more events, and no error."""
        for passage in self._watching(resource):
            passage.silent = True

    async def say_in_watches(self, line: dict[str, Any], resource: str = "") -> None:
        """Insert a line into all open watches, and end them."""
        for passage in self._watching(resource):
            await passage.say(line)
            passage.cut()

    def _watching(self, resource: str) -> list[Passage]:
        return [p for p in self.watching if resource in ("", p.request.resource)]

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        request = _read(http)
        # Not ``http.read()``, which rejects more than 1 MiB: the API server accepts three.
        request.body = await http.content.read()
        self.seen.append(request)
        passage = Passage(request, http, self)
        rule = next((rule for rule in self.rules if rule.applies(request)), None)
        try:
            return await (rule.fault(passage) if rule else passage.forward())
        except aiohttp.ClientError:
            # The real server is unavailable: so is this one.
            passage.cut()
            return web.Response()

    def ask(self, http: web.BaseRequest, body: bytes) -> Any:
        """Make the same request to the API server."""
        headers = {k: v for k, v in http.headers.items() if k.lower() not in _HOP_BY_HOP}
        return self._session.request(
            http.method,
            URL(self.access.server + http.raw_path, encoded=True),
            # As a file, since aiohttp warns about large bodies of other types.
            data=io.BytesIO(body) if body else None,
            headers={**self.access.headers, **headers},
            ssl=self.access.tls,
            timeout=aiohttp.ClientTimeout(total=None),
        )


def _passed(headers: Any) -> dict[str, str]:
    return {k: v for k, v in headers.items() if k.lower() not in _HOP_BY_HOP}


def _read(http: web.BaseRequest) -> Request:
    parts = [part for part in http.path.split("/") if part]
    # /api/v1/… or /apis/GROUP/VERSION/…
    parts = parts[2:] if parts[:1] == ["api"] else parts[3:]
    namespace = ""
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    resource, name, subresource = (*parts, "", "", "")[:3]
    return Request(
        verb=_verb(http, bool(name)),
        resource=resource,
        namespace=namespace,
        name=name,
        subresource=subresource,
        at=time.monotonic(),
        headers=dict(http.headers),
        query=dict(http.query),
    )


def _verb(http: web.BaseRequest, named: bool) -> str:
    match http.method:
        case "GET" if http.query.get("watch") in ("1", "true"):
            return "watch"
        case "GET":
            return "get" if named else "list"
        case "DELETE":
            return "delete" if named else "deletecollection"
        case method:
            return {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(method, method.lower())


# Faults


def answer(
    code: int,
    message: str = "as the test wants it",
    reason: str = "",
    *,
    retry_after: int | None = None,
    details: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> Fault:
    """Respond with a Status, without forwarding the request."""

    async def fault(passage: Passage) -> web.StreamResponse:
        passage.request.code = code
        wait = {"Retry-After": str(retry_after)} if retry_after is not None else {}
        status = status_object(code, message, reason, details)
        return web.json_response(status, status=code, headers={**wait, **(headers or {})})

    return fault


def reset() -> Fault:
    """Break the connection without forwarding the request."""

    async def fault(passage: Passage) -> web.StreamResponse:
        passage.cut()
        return web.Response()

    return fault


def lose_answer() -> Fault:
    """Forward the request, then break the connection: the client does not know the outcome."""

    async def fault(passage: Passage) -> web.StreamResponse:
        await passage.commit()
        passage.cut()
        return web.Response()

    return fault


def hang() -> Fault:
    """Never respond, and do not forward the request."""

    async def fault(passage: Passage) -> web.StreamResponse:
        await passage._proxy.closing.wait()
        return web.Response()

    return fault


def before(act: Callable[[], Awaitable[None]]) -> Fault:
    """Act, for example kill the client; then break the connection without forwarding."""

    async def fault(passage: Passage) -> web.StreamResponse:
        await act()
        passage.cut()
        return web.Response()

    return fault


def after(act: Callable[[], Awaitable[None]]) -> Fault:
    """Forward the request, then act, for example kill the client, before it gets the response."""

    async def fault(passage: Passage) -> web.StreamResponse:
        await passage.commit()
        await act()
        passage.cut()
        return web.Response()

    return fault


def breaks_after(size: int) -> Fault:
    """Forward the request, and break a watch or a log after this number of bytes."""

    async def fault(passage: Passage) -> web.StreamResponse:
        passage.breaks_after = size
        return await passage.forward()

    return fault


def ends_after(size: int) -> Fault:
    """Forward the request, and end a log after this number of bytes as if it were complete.

    The API server does so when its own connection to the kubelet breaks.
    """

    async def fault(passage: Passage) -> web.StreamResponse:
        passage.breaks_after, passage.breaks_cleanly = size, True
        return await passage.forward()

    return fault


def delayed(wait: Callable[[], Awaitable[object]]) -> Fault:
    """Forward the request, and delay its response until something else has happened."""

    async def fault(passage: Passage) -> web.StreamResponse:
        answered = await passage.forward()
        await wait()
        return answered

    return fault


def held(seconds: float) -> Fault:
    """Forward the request after this time: neither its response nor its events come earlier."""

    async def fault(passage: Passage) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await passage.forward()

    return fault


def watch_says(line: dict[str, Any]) -> Fault:
    """Open the watch without the server, send one line, and end it cleanly."""

    async def fault(passage: Passage) -> web.StreamResponse:
        down = await passage.begin_watch()
        await passage.say(line)
        return down

    return fault


def watch_sends(data: bytes) -> Fault:
    """Open the watch without the server, send these bytes, and break the connection."""

    async def fault(passage: Passage) -> web.StreamResponse:
        down = await passage.begin_watch()
        await down.write(data)
        # The data must be sent before the connection breaks.
        await asyncio.sleep(0.01)
        passage.cut()
        return down

    return fault


def watch_ends() -> Fault:
    """Open the watch without the server, and end it cleanly at once."""

    async def fault(passage: Passage) -> web.StreamResponse:
        return await passage.begin_watch()

    return fault


def watch_is_silent() -> Fault:
    """Open the watch without the server, and never send anything."""

    async def fault(passage: Passage) -> web.StreamResponse:
        down = await passage.begin_watch()
        await passage._proxy.closing.wait()
        return down

    return fault


def status_object(
    code: int, message: str = "", reason: str = "", details: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return a Status as the API server writes it."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": details or {},
        "code": code,
    }


def error_line(code: int, message: str = "too old resource version") -> dict[str, Any]:
    """Return the line of an error in a watch."""
    return {"type": "ERROR", "object": status_object(code, message)}
