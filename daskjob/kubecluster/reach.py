"""Which of several hosts accepts connections at a port, without blocking the event loop.

A Service has its addresses before every kube-proxy has programmed its rules. Until then a node
refuses connections, so a refusal is retried longer than silence, which is mostly a firewall.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

from daskjob.kube.host_names import addresses_of

#: How many hosts are tried at once: each takes a file descriptor, and some systems allow 256.
AT_ONCE = 64
#: The part of the time that many hosts share; the rest is for delays of a busy machine.
SHARED = 0.8
#: The shortest time for one host: packets of other continents take as long.
SHORTEST = 0.25
#: The first and the longest pause before a host is tried again.
PAUSE = 0.2
LONGEST_PAUSE = 1.0
#: How many hosts are tried again in a second: one of many answers as well as another.
AGAIN_PER_SECOND = 50
#: How many hosts a message names for one reason.
NAMED = 3

_REFUSED = "connection refused"
_SILENT = "no answer"


@dataclass(frozen=True, slots=True)
class Patience:
    """For how many seconds hosts are tried."""

    #: Hosts that send nothing back, and names that do not resolve.
    silent: float = 3.0
    #: Hosts that refuse; also the limit of a whole search.
    refused: float = 10.0


PATIENCE = Patience()


class Search:
    """A search for a host that answers; more hosts can be added while it runs."""

    def __init__(self, port: int, patience: Patience = PATIENCE) -> None:
        self._port = port
        self._patience = patience
        self._clock = asyncio.get_running_loop().time
        #: When the search ends, by the clock of the loop.
        self.deadline = self._clock() + patience.refused
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tries: set[asyncio.Task[None]] = set()
        self._settled = asyncio.Event()
        self._winner = ""
        #: Why each host failed, in the order of their tries.
        self._reasons: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tries:
            task.cancel()
        if self._tries:
            await asyncio.wait(self._tries)

    def add(self, hosts: Iterable[str]) -> None:
        """Try these hosts as well; each gets an equal share of the time."""
        added = [host for host in dict.fromkeys(hosts) if host not in self._reasons]
        if added:
            self._settled.clear()
        for host in added:
            self._reasons[host] = "not tried in time"
            task = asyncio.create_task(self._try(host, len(added)))
            self._tries.add(task)
            task.add_done_callback(self._ended)

    async def found(self, seconds: float | None = None) -> str:
        """Return the first host that answers; empty: none does, or none within the time."""
        if self._tries:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._settled.wait()
        return self._winner

    def failure(self) -> str:
        """Return why no host answers: each reason with its hosts."""
        hosts: dict[str, list[str]] = {}
        for host, reason in self._reasons.items():
            hosts.setdefault(reason, []).append(host)
        return "; ".join(f"{_some(found)}: {reason}" for reason, found in hosts.items())

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tries.discard(task)
        if not self._tries:
            self._settled.set()

    async def _try(self, host: str, among: int) -> None:
        """Try one host until it answers, or its time is over."""
        silence_ends = min(self._clock() + self._patience.silent, self.deadline)
        share = max(self._patience.silent * min(SHARED * AT_ONCE / among, 1), SHORTEST)
        pause = PAUSE if among == 1 else max(PAUSE, among / AGAIN_PER_SECOND)
        ends = silence_ends
        while not self._winner and self._clock() < ends:
            async with self._slots:
                if self._clock() >= ends:
                    return
                reason = await self._attempt(host, min(share, ends - self._clock()))
            if not reason:
                self._winner = self._winner or host
                self._settled.set()
                return
            ends = self.deadline if reason == _REFUSED else silence_ends
            self._reasons[host] = reason
            await asyncio.sleep(max(min(pause, ends - self._clock()), 0))
            pause = max(pause, min(pause * 1.5, LONGEST_PAUSE))

    async def _attempt(self, host: str, seconds: float) -> str:
        """Connect once; return why that failed, or nothing."""
        reason = _SILENT
        try:
            async with asyncio.timeout(seconds):
                addresses = await _resolved(host, self._port)
                for address in addresses:
                    reason = await self._connect(address, seconds / len(addresses))
                    if not reason:
                        break
        except TimeoutError:
            return reason
        except OSError as error:
            return _reason(error)
        return reason

    async def _connect(self, address: str, seconds: float) -> str:
        try:
            async with asyncio.timeout(seconds):
                _, writer = await asyncio.open_connection(address, self._port)
        except TimeoutError:
            return _SILENT
        except OSError as error:
            return _reason(error)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return ""


async def answers(host: str, port: int, seconds: float) -> bool:
    """Return whether a host accepts connections within the time; a refusal is retried."""
    async with Search(port, Patience(seconds, seconds)) as search:
        search.add([host])
        return bool(await search.found())


async def _resolved(host: str, port: int) -> list[str]:
    with suppress(ValueError):
        return [str(ip_address(host))]
    return await addresses_of(host, port)


def _reason(error: OSError) -> str:
    if isinstance(error, ConnectionError):
        return _REFUSED
    return error.strerror or str(error) or type(error).__name__


def _some(hosts: list[str]) -> str:
    more = len(hosts) - NAMED
    named = ", ".join(hosts[:NAMED])
    return f"{named} and {more} more" if more > 0 else named
