"""The start and the end of a cluster alone: each happens once, however often it is asked for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from distributed.core import Status

from daskjob.core.errors import NotFound
from daskjob.kubecluster import process_end
from daskjob.kubecluster.arguments import resolved
from daskjob.kubecluster.creation import Creation
from daskjob.kubecluster.end import End
from daskjob.kubecluster.errors import CloseTimeout, ClusterClosed, NoSuchCluster
from daskjob.kubecluster.scheduler_connection import SchedulerConnection
from daskjob.kubecluster.session import Session
from daskjob.kubecluster.start import Start


@dataclass
class Clients:
    """Clients that find nothing, as soon as they may answer."""

    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    async def api(self) -> None: ...

    async def namespace(self) -> str:
        return "team"

    async def get(self, name: str) -> Any:
        self.asked += 1
        await self.may_answer.wait()
        raise NotFound(f"no cluster {name}")

    async def close(self) -> None: ...


@dataclass
class Host:
    """What a start that finds nothing and an end need of a host."""

    name: str = "x"
    namespace: str | None = None
    status: Any = Status.created
    quiet: bool = True
    create_mode: Any = None
    shutdown_on_close: bool | None = True
    periodic_callbacks: dict[str, Any] = field(default_factory=dict)


class Cluster:
    """Start and end of one cluster, without the class that users see."""

    def __init__(self) -> None:
        arguments = resolved({"name": "x", "create_mode": "CONNECT_ONLY"})
        self.clients, self.said, self.left = Clients(), list[str](), 0
        self.host = Host(create_mode=arguments.create_mode)
        seen: Any = self.host
        self.creation = Creation(arguments)
        self.session = Session(
            arguments,
            self.clients,  # type: ignore[arg-type]
            self.creation,
            SchedulerConnection(self.said.append),
            self.said.append,
        )
        self.end = End(seen, self.session, owns_loop=False, leave=self.leave, show=lambda: None)
        self.start = Start(seen, self.session, self.end, join=self.leave)

    async def leave(self) -> None:
        self.left += 1
        self.host.status = Status.closed


@pytest.mark.parametrize("callers", [1, 2, 5])
async def test_a_start_that_fails_is_tried_and_undone_once(callers: int) -> None:
    cluster = Cluster()
    starts = [asyncio.ensure_future(cluster.start.done()) for _ in range(callers)]
    await asyncio.sleep(0)
    cluster.clients.may_answer.set()
    results = await asyncio.gather(*starts, return_exceptions=True)
    assert [type(result) for result in results] == [NoSuchCluster] * callers
    assert (cluster.clients.asked, cluster.left) == (1, 1)
    assert cluster.host.status == Status.closed
    with pytest.raises(ClusterClosed):
        await cluster.start.done()


async def test_a_start_that_is_no_longer_awaited_is_undone() -> None:
    cluster = Cluster()
    start = asyncio.ensure_future(cluster.start.done())
    while not cluster.clients.asked:
        await asyncio.sleep(0)
    await cluster.end.abandon()
    with pytest.raises(ClusterClosed, match="x is closed"):
        await start
    assert (cluster.left, cluster.host.status) == (1, Status.closed)


@pytest.mark.parametrize("callers", [1, 2, 5])
async def test_every_close_waits_for_the_deletion(callers: int) -> None:
    cluster = Cluster()
    cluster.host.status = Status.running
    cluster.creation.is_possible = True
    closes = [asyncio.ensure_future(cluster.end.close()) for _ in range(callers)]
    while not cluster.clients.asked:
        await asyncio.sleep(0)
    assert cluster.host.status == Status.closing
    assert not any(close.done() for close in closes)
    cluster.clients.may_answer.set()
    await asyncio.gather(*closes)
    assert (cluster.left, cluster.clients.asked) == (1, 1)
    assert cluster.host.status == Status.closed


@pytest.mark.parametrize("seconds", [0, 0.001, 0.05])
async def test_a_close_that_takes_too_long_is_given_up(seconds: float) -> None:
    cluster = Cluster()
    cluster.host.status = Status.running
    cluster.creation.is_possible = True
    with pytest.raises(CloseTimeout, match=f"x was not closed within {seconds:g} s"):
        await cluster.end.close_within(seconds)
    assert cluster.host.status == Status.closed


@pytest.mark.parametrize("seconds", [0, 0.001, 0.05])
async def test_a_close_during_the_start_that_takes_too_long_leaves_the_rest_to_its_end(
    seconds: float,
) -> None:
    cluster = Cluster()
    start = asyncio.ensure_future(cluster.start.done())
    while not cluster.clients.asked:
        await asyncio.sleep(0)
    process_end.opened(cluster.end)
    cluster.creation.is_possible = True
    with pytest.raises(CloseTimeout):
        await cluster.end.close_within(seconds)
    assert cluster.end in process_end._open.values()
    cluster.clients.may_answer.set()
    await cluster.end.abandon()
    with pytest.raises(ClusterClosed):
        await start
    assert cluster.end not in process_end._open.values()
    assert (cluster.left, cluster.host.status) == (1, Status.closed)


async def test_an_undo_that_is_cancelled_is_left_to_the_end_of_the_process() -> None:
    cluster = Cluster()
    cluster.creation.is_possible = True
    process_end.opened(cluster.end)
    waiting = asyncio.ensure_future(cluster.end.undo())
    while not cluster.clients.asked:
        await asyncio.sleep(0)
    assert cluster.end._undoing is not None
    cluster.end._undoing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert cluster.end in process_end._open.values()
    process_end.closed(cluster.end)


async def test_a_task_that_closes_its_own_session_is_not_cancelled() -> None:
    cluster = Cluster()
    ended = asyncio.Event()

    async def close() -> None:
        cluster.session.release_current_task()
        await cluster.session.end_tasks()
        ended.set()

    other = cluster.session.spawn(asyncio.Event().wait())
    await cluster.session.spawn(close())
    assert ended.is_set()
    assert other.cancelled()
