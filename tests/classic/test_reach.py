"""How the classic KubeCluster waits for a scheduler that does not listen yet, with real sockets."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack, closing

import pytest

from daskjob.classic import reach
from daskjob.classic.reach import Place, once_it_listens

pytestmark = pytest.mark.check(31)


def free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("tries", [1, 3])
async def test_a_refusal_is_retried_until_it_listens(
    tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "PAUSE_SECONDS", 0.01)
    place = Place("127.0.0.1", free_port(), 1)
    said: list[str] = []
    waiting = asyncio.ensure_future(once_it_listens(place, tries, said.append))
    while not said:
        assert not waiting.done()
        await asyncio.sleep(0.01)
    assert said[0].startswith("the scheduler's container runs, and does not listen yet: 127.0.0.1:")
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", place.port)))
        listener.listen()
        assert await waiting == ""
    assert len(said) == 1


@pytest.mark.parametrize("tries", [1, 2])
async def test_a_name_that_does_not_resolve_is_given_up(
    tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "PAUSE_SECONDS", 0.01)
    reason = await once_it_listens(Place("x.team.invalid", 8786, 1), tries, lambda _: None)
    assert reason.startswith("x.team.invalid:8786")
