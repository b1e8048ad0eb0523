"""One connection to a port of a pod, through the API server: a websocket with two channels.

The subprotocol is ``v4.channel.k8s.io``, which every kubelet serves: the first byte of a message is
its channel, 0 for data, 1 for an error; the first message of each channel only repeats the port.
The newer tunnel of SPDY in a websocket (``SPDY/3.1+portforward.k8s.io``) would carry several
connections, and a slow one would stop all others. It could also announce the end of one direction,
but container runtimes close the other direction one second later.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace

import aiohttp

from daskjob.core.errors import ApiError, DaskJobError, Forbidden, Permission
from daskjob.core.manifests import ObjectRef
from daskjob.kube.api import Api
from daskjob.kube.requests import Request

PROTOCOL = "v4.channel.k8s.io"
#: What a Role must grant: a websocket is a GET, for which newer servers check ``create`` as well.
VERBS = "get, create"
SUBRESOURCE = "portforward"

_DATA, _ERROR = 0, 1
#: In the errors of container runtimes about a port on which nothing listens.
_REFUSED = re.compile(r"connection refused|failed to connect|unable to connect", re.IGNORECASE)
#: How often to ask whether the other end is still there. Also keeps proxies in between from closing
#: the connection.
PING_SECONDS = 15.0
#: How long the answer may take, if nothing was sent since the last one.
ANSWER_SECONDS = 30.0
#: The same, if data was sent since: a kubelet answers no ping while the pod does not read.
BUSY_SECONDS = 600.0


class TunnelBroken(ApiError):
    """The connection to the pod was lost, or never existed: its bytes may be incomplete."""


class PortRefused(TunnelBroken):
    """Nothing listens on the port: no program got any byte."""


class Tunnel:
    """An open connection to a port of a pod; ``receive`` and ``send`` may run at the same time."""

    def __init__(
        self,
        websocket: aiohttp.ClientWebSocketResponse[bool],
        subject: str,
        *,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._websocket = websocket
        self._subject = subject
        self._answer_seconds = answer_seconds
        self._begun: set[int] = set()
        self._receiving = False
        #: When something arrived last, or the receiver came back.
        self._heard_at = time.monotonic()
        self._pinged_at: float | None = None
        self._sent_since = False

    async def receive(self) -> bytes:
        """Return the next bytes of the pod; empty: it ended the connection.

        Raises
        ------
        TunnelBroken
            Before the end.
        """
        while True:
            self._receiving = True
            try:
                message = await self._websocket.receive()
            finally:
                self._receiving = False
                self._heard()
            match message.type:
                case aiohttp.WSMsgType.BINARY:
                    data = self._content(message.data)
                    if data:
                        return data
                case aiohttp.WSMsgType.PING:
                    await self._checked(self._websocket.pong(message.data))
                case aiohttp.WSMsgType.PONG:
                    self._sent_since = False
                case aiohttp.WSMsgType.CLOSE if message.data in (0, aiohttp.WSCloseCode.OK):
                    return b""
                case aiohttp.WSMsgType.TEXT:
                    continue
                case _:
                    raise self._broken(str(self._websocket.exception() or "connection lost"))

    async def send(self, data: bytes) -> None:
        """Send bytes to the pod; waits while the connection is full.

        Raises
        ------
        TunnelBroken
            The connection was lost.
        """
        self._sent_since = True
        await self._checked(self._websocket.send_bytes(bytes((_DATA,)) + data))

    async def check(self) -> None:
        """Ping the other end, indefinitely.

        Raises
        ------
        TunnelBroken
            It does not answer.
        """
        while True:
            await asyncio.sleep(min(PING_SECONDS, self._answer_seconds / 2))
            now = time.monotonic()
            if not self._receiving:
                # The reader of the bytes is slow: answers wait behind them.
                self._heard()
            if self._pinged_at is None:
                self._pinged_at = now
                await self._checked(self._websocket.ping())
                continue
            limit = BUSY_SECONDS if self._sent_since else self._answer_seconds
            if now - max(self._pinged_at, self._heard_at) > limit:
                raise self._broken(f"no answer for {limit:.0f} s")

    async def close(self) -> None:
        """End the connection; the pod gets everything that was sent."""
        await self._websocket.close()

    def abort(self) -> None:
        """Break the connection off."""
        connection = self._websocket._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()

    def _heard(self) -> None:
        self._heard_at = time.monotonic()
        self._pinged_at = None

    def _content(self, message: bytes) -> bytes:
        """Return the data in a message."""
        if not message:
            return b""
        channel = message[0]
        if channel not in self._begun:
            self._begun.add(channel)
            return b""
        if channel == _ERROR:
            reason = message[1:].decode(errors="replace").strip()
            if _REFUSED.search(reason):
                raise PortRefused(f"{self._subject}: {reason}")
            raise self._broken(reason)
        return message[1:] if channel == _DATA else b""

    async def _checked(self, sent: object) -> None:
        try:
            await sent  # type: ignore[misc]
        except (aiohttp.ClientError, ConnectionError, RuntimeError) as error:
            raise self._broken(str(error) or "connection lost") from error

    def _broken(self, reason: str) -> TunnelBroken:
        return TunnelBroken(f"{self._subject}: {reason}")


async def open_tunnel(
    api: Api, pod: ObjectRef, port: int, *, answer_seconds: float = ANSWER_SECONDS
) -> Tunnel:
    """Connect to a port of a pod, without retries.

    Whether anything listens there is known later: otherwise ``receive`` raises ``TunnelBroken``.

    Raises
    ------
    Forbidden
        A permission is missing; the error has all that is needed.
    NotFound
        The pod does not exist.
    ApiError
        There was no connection.
    """
    subject = f"port {port} of {pod}"
    request = Request.about("get", pod, subresource=SUBRESOURCE)
    request = replace(request, query={"ports": str(port)}, subject=subject)
    try:
        websocket = await api.websocket(request, PROTOCOL)
    except Forbidden as error:
        permission = Permission(VERBS, f"pods/{SUBRESOURCE}", "", pod.namespace)
        raise Forbidden(error.message, permission) from error
    if websocket.protocol != PROTOCOL:
        await websocket.close()
        raise DaskJobError(f"{subject}: the server does not know the protocol {PROTOCOL}")
    return Tunnel(websocket, subject, answer_seconds=answer_seconds)
