"""A supervised port-forward: a local port that leads to a pod, whatever happens in between.

The local port stays for the whole life of the forward. Each local connection has a connection to
the pod of its own (``tunnel``), so none waits for another. When the pod is replaced, or the API
server is away, existing connections break, with a reset and never with an end that looks complete;
new ones wait until there is a way again and something listens in the pod, up to a limit.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from daskjob.core.errors import ApiError, DaskJobError, NotFound, Timeout
from daskjob.core.manifests import ObjectRef
from daskjob.kube.api import Api
from daskjob.kube.followed_pod import Backend, FollowedPod, following
from daskjob.kube.objects import PACE, Pace
from daskjob.kube.tunnel import ANSWER_SECONDS, PortRefused, Tunnel, TunnelBroken, open_tunnel

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
#: Bytes that one read returns at most; each direction of a connection keeps a few of these.
CHUNK = 64 * 1024
#: What a local program may send before anything comes back, and still be connected anew.
UNHEARD_LIMIT = 256 * 1024
#: Errors that pass: the pod is being replaced, the API server is away or overloaded.
_PASSING = (ApiError, NotFound)


class PortTaken(DaskJobError):
    """The local port, or address, cannot be used."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The time limits of a forward, in seconds."""

    #: How long a local connection waits for one to the pod.
    opening: float = 30.0
    #: The first wait between tries; doubled up to ``longest``.
    shortest: float = 0.1
    longest: float = 2.0
    #: The protocol cannot say that a local program has closed one direction, or both. So its
    #: connection ends once the pod has also been silent for this long.
    half_closed: float = 10.0
    #: How long the other end may take to answer a ping.
    answer: float = ANSWER_SECONDS
    #: How long a new connection is observed, to see that something listens in the pod.
    settling: float = 0.3


LIMITS = Limits()
#: Gets messages for people: the way to the pod is lost, is there again, leads to another pod.
Notify = Callable[[str], None]


class PortForward:
    """A local port that leads to the pod of a backend; open it with ``forwarding``."""

    def __init__(
        self, api: Api, pod: FollowedPod, *, notify: Notify | None = None, limits: Limits = LIMITS
    ) -> None:
        #: The local address, which never changes.
        self.host = ""
        self.port = 0
        self._api = api
        self._pod = pod
        self._notify = notify or logger.info
        self._limits = limits
        self._connections: set[asyncio.Task[None]] = set()
        self._trouble = ""
        self._last_pod = ""

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def connections(self) -> int:
        """The number of open local connections."""
        return len(self._connections)

    async def ready(self, timeout_seconds: float | None = None) -> None:
        """Wait until the pod runs and something listens on its port.

        Raises
        ------
        Forbidden
            A permission is missing.
        Timeout
            With what is missing.
        """
        last = ""
        try:
            async with asyncio.timeout(timeout_seconds):
                wait = self._limits.shortest
                while True:
                    try:
                        return await self._probe()
                    except _PASSING as error:
                        last = str(error)
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, self._limits.longest)
        except TimeoutError:
            reason = self._pod.state() if self._pod.current is None else last
            subject = self._pod.backend.subject
            raise Timeout(
                f"{subject} cannot be reached within {timeout_seconds:g} s: {reason}"
            ) from None

    async def _probe(self) -> None:
        tunnel = await self._opened()
        try:
            async with asyncio.timeout(self._limits.settling):
                await tunnel.receive()
        except TimeoutError:
            pass
        finally:
            await tunnel.close()

    async def _opened(self) -> Tunnel:
        ref, port = await self._pod.wait()
        return await open_tunnel(self._api, ref, port, answer_seconds=self._limits.answer)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a local connection."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def close(self) -> None:
        """Break all connections off."""
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        complete = False
        local = _Local(reader, writer)
        tries = _Tries(self._limits)
        try:
            while not complete:
                ref, tunnel = await self._connected(tries)
                try:
                    await self._carry(local, tunnel, ref)
                    complete = True
                except PortRefused as error:
                    self._lost(str(error))
                    if local.unheard is None or not await tries.again():
                        raise
                finally:
                    await _ended(tunnel, complete)
        except DaskJobError as error:
            logger.debug("%s", error)
        except (OSError, asyncio.CancelledError) as error:
            logger.debug("the local connection ended: %r", error)
        finally:
            await _close(writer, complete)

    async def _connected(self, tries: _Tries) -> tuple[ObjectRef, Tunnel]:
        """Connect to the pod, after retries.

        Raises
        ------
        DaskJobError
            There is still no way at the end of the time limit, or there never will be.
        """
        while True:
            try:
                async with asyncio.timeout_at(tries.give_up):
                    ref, port = await self._pod.wait()
                    seconds = self._limits.answer
                    return ref, await open_tunnel(self._api, ref, port, answer_seconds=seconds)
            except TimeoutError:
                self._lost(self._pod.state())
                raise TunnelBroken(self._trouble) from None
            except _PASSING as error:
                self._lost(str(error))
                if not await tries.again():
                    raise
            except DaskJobError as error:
                self._lost(str(error))
                raise

    def _lost(self, reason: str) -> None:
        if not self._trouble:
            self._notify(f"{self._pod.backend.subject} cannot be reached: {reason}")
        self._trouble = reason

    def _found(self, pod: str) -> None:
        if self._last_pod not in ("", pod):
            self._notify(f"{self.address} leads to {pod} now, which replaced {self._last_pod}")
        elif self._trouble:
            self._notify(f"{self._pod.backend.subject} can be reached again")
        self._last_pod, self._trouble = pod, ""

    async def _carry(self, local: _Local, tunnel: Tunnel, pod: ObjectRef) -> None:
        """Carry bytes both ways until the pod, or the local program, ends the connection."""
        # Taken before anything can come back, which ends its being kept: programs that greet their
        # clients may do so before the first byte was sent again.
        again = bytes(local.unheard or b"")
        down = asyncio.create_task(self._receive(tunnel, local, pod))
        up = asyncio.create_task(self._send(local, tunnel, again))
        checks = asyncio.create_task(tunnel.check())
        end = asyncio.create_task(self._pod.gone(pod).wait())
        tasks: set[asyncio.Task[Any]] = {down, up, checks, end}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # The reason of the pod's side comes first.
            for task in (down, up, checks):
                if task in done:
                    task.result()
            if down not in done and end in done:
                raise TunnelBroken("the pod is gone")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                # Seen, so that none is reported as never retrieved.
                _ = task.cancelled() or task.exception()

    async def _send(self, local: _Local, tunnel: Tunnel, again: bytes) -> None:
        """Send to the pod until the local program ends; then wait until the pod is silent.

        ``again`` is what an earlier tunnel was sent in vain.
        """
        if again:
            await tunnel.send(again)
        while data := await local.reader.read(CHUNK):
            local.keep(data)
            await tunnel.send(data)
        while True:
            local.heard.clear()
            try:
                async with asyncio.timeout(self._limits.half_closed):
                    await local.heard.wait()
            except TimeoutError:
                return

    async def _receive(self, tunnel: Tunnel, local: _Local, pod: ObjectRef) -> None:
        while data := await tunnel.receive():
            local.unheard = None
            self._found(pod.name)
            local.heard.set()
            local.writer.write(data)
            await local.writer.drain()
            local.heard.set()


class _Local:
    """A local connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        #: Set when the pod has sent something.
        self.heard = asyncio.Event()
        #: What was sent before anything came back: sent again if nothing listened in the pod.
        #: ``None``: too much, or not needed any more.
        self.unheard: bytearray | None = bytearray()

    def keep(self, data: bytes) -> None:
        """Keep what is sent, as long as it may have to be sent again."""
        if self.unheard is not None:
            self.unheard += data
            if len(self.unheard) > UNHEARD_LIMIT:
                self.unheard = None


class _Tries:
    """The tries to connect within a time limit."""

    def __init__(self, limits: Limits) -> None:
        self._clock = asyncio.get_running_loop().time
        self.give_up = self._clock() + limits.opening
        self._wait = limits.shortest
        self._longest = limits.longest

    async def again(self) -> bool:
        """Wait before the next try; return whether there is time for one."""
        if self._clock() + self._wait >= self.give_up:
            return False
        await asyncio.sleep(self._wait * random.uniform(0.5, 1.0))
        self._wait = min(self._wait * 2, self._longest)
        return True


async def _ended(tunnel: Tunnel, complete: bool) -> None:
    if not complete:
        tunnel.abort()
    with suppress(Exception):
        await tunnel.close()


async def _close(writer: asyncio.StreamWriter, complete: bool) -> None:
    """Close a local connection; one that is not complete with a reset."""
    if not complete:
        local = writer.get_extra_info("socket")
        if local is not None:
            with suppress(OSError):
                local.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        pass
    except asyncio.CancelledError:
        # The local program does not read the last bytes.
        writer.transport.abort()


@asynccontextmanager
async def forwarding(
    api: Api,
    backend: Backend,
    *,
    port: int = 0,
    preferred_port: int = 0,
    address: str = LOOPBACK,
    notify: Notify | None = None,
    limits: Limits = LIMITS,
    pace: Pace = PACE,
) -> AsyncIterator[PortForward]:
    """Forward a local port to the pod of a backend during the block.

    ``port`` 0 is ``preferred_port`` if that is free, else any free port. The forward is usable at
    once; ``PortForward.ready`` waits until the pod can be reached, and raises what prevents it.

    Raises
    ------
    PortTaken
        The local port is in use, or is not allowed.
    """
    async with AsyncExitStack() as stack:
        listening = _listening(address, port, preferred_port)
        stack.callback(listening.close)
        pod = await stack.enter_async_context(following(api, backend, pace=pace))
        forward = PortForward(api, pod, notify=notify, limits=limits)
        forward.host, forward.port = listening.getsockname()[:2]
        server = await asyncio.start_server(forward.accept, sock=listening, limit=CHUNK)
        stack.push_async_callback(forward.close)
        stack.callback(server.close)
        yield forward


def _listening(address: str, port: int, preferred: int) -> socket.socket:
    if not port and preferred:
        with suppress(PortTaken):
            return _bound(address, preferred)
    return _bound(address, port)


def _bound(address: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise PortTaken(f"{address!r} is not an address of this machine: {error}") from error
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(where)
    except OSError as error:
        made.close()
        raise PortTaken(_reason(address, port, error)) from error
    return made


def _reason(address: str, port: int, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} of {address} is in use: choose another one, or 0 for any free port"
        case errno.EACCES:
            return f"port {port} of {address} is reserved: choose one from 1024 to 65535"
        case errno.EADDRNOTAVAIL:
            return f"{address} is not an address of this machine"
    return f"cannot listen on port {port} of {address}: {error.strerror}"
