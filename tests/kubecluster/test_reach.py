"""Which host answers, with real sockets: some listen late, some send nothing back, many refuse."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from daskjob.kubecluster.reach import AT_ONCE, Patience, Search, answers

pytestmark = [
    pytest.mark.check(28),
    pytest.mark.check(31),
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8"),
]
MANY = [f"127.1.{n // 250}.{n % 250 + 1}" for n in range(500)]
LAST = MANY[-1]

Listen = Callable[[str, int], int]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Listen at a host; a specific one goes before ``0.0.0.0``. Return the port."""
    with ExitStack() as stack:

        def made(host: str, port: int = 0) -> int:
            listener = stack.enter_context(socket.socket())
            for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
                listener.setsockopt(socket.SOL_SOCKET, option, 1)
            listener.bind((host, port))
            listener.listen()
            return int(listener.getsockname()[1])

        yield made


@pytest.fixture
def hole() -> Iterator[int]:
    """A port where no host sends anything back: its queue of connections is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("0.0.0.0", 0))
        listener.listen(0)
        port = int(listener.getsockname()[1])
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        yield port


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("0.0.0.0", 0))
        return int(one.getsockname()[1])


async def searched(port: int, *rounds: list[str], patience: Patience) -> tuple[str, str, float]:
    """Return the host that was found, why others failed, and the seconds that it took."""
    began = time.monotonic()
    async with Search(port, patience) as search:
        for hosts in rounds:
            search.add(hosts)
            found = await search.found(0.1 if hosts is not rounds[-1] else None)
        return found, search.failure(), time.monotonic() - began


async def test_one_that_listens_late_is_found(listen: Listen) -> None:
    port = free_port()
    asyncio.get_running_loop().call_later(2, listen, "0.0.0.0", port)
    several = [["127.0.0.1"], ["localhost"], ["127.1.0.1", "127.1.0.2"]]
    patience = Patience(0.5, 60)
    searches = [searched(port, hosts, patience=patience) for hosts in several]
    for hosts, (found, _, seconds) in zip(several, await asyncio.gather(*searches), strict=True):
        assert found in hosts
        assert seconds > 1.5


async def test_a_refusal_is_retried_longer_than_silence(hole: int) -> None:
    patience = Patience(silent=0.4, refused=1.5)
    found, reason, seconds = await searched(hole, ["127.0.0.1"], patience=patience)
    assert (found, reason) == ("", "127.0.0.1: no answer")
    assert seconds < 1.4
    found, reason, seconds = await searched(free_port(), ["127.0.0.1"], patience=patience)
    assert (found, reason) == ("", "127.0.0.1: connection refused")
    assert seconds >= 1.4
    assert await answers("127.0.0.1", hole, 0.3) is False


async def test_a_name_that_does_not_resolve_takes_as_long_as_silence() -> None:
    patience = Patience(silent=0.4, refused=60)
    found, reason, seconds = await searched(1, ["x.team.invalid"], patience=patience)
    assert found == ""
    assert reason.startswith("x.team.invalid: ")
    assert seconds < 30


async def test_the_preferred_host_wins_if_it_answers(listen: Listen) -> None:
    port = listen("0.0.0.0", 0)
    for preferred in ("127.0.0.1", "127.9.9.9", LAST):
        found, _, _ = await searched(port, [preferred], MANY, patience=Patience())
        assert found == preferred


async def test_one_of_500_silent_hosts_is_found_in_the_time_of_one(
    hole: int, listen: Listen
) -> None:
    began = time.monotonic()
    found, reason, _ = await searched(hole, ["127.0.0.1"], MANY, patience=Patience(1.5, 60))
    assert found == ""
    assert "127.0.0.1, 127.1.0.1, 127.1.0.2 and " in reason
    listen(LAST, hole)
    found, _, _ = await searched(hole, ["127.0.0.1"], MANY, patience=Patience(4, 60))
    assert found == LAST
    # One after the other, with a second each, it would be 1000.
    assert time.monotonic() - began < 30


async def test_500_hosts_that_refuse_are_tried_a_few_at_a_time(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_now = most = tries = 0
    connect = asyncio.open_connection

    async def counted(*arguments: object) -> object:
        nonlocal open_now, most, tries
        tries += 1
        open_now += 1
        most = max(most, open_now)
        try:
            return await connect(*arguments)  # type: ignore[arg-type]
        finally:
            open_now -= 1

    monkeypatch.setattr(asyncio, "open_connection", counted)
    port = free_port()
    found, reason, _ = await searched(port, MANY, patience=Patience(1, 1))
    assert found == ""
    # On a busy machine the last ones are not tried within a second.
    assert re.match(r"127.1.0.1, 127.1.0.2, 127.1.0.3 and \d+ more: connection refused", reason)
    assert most <= AT_ONCE
    assert tries <= len(MANY)
    listen(LAST, port)
    assert (await searched(port, MANY, patience=Patience(3, 60)))[0] == LAST
