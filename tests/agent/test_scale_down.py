"""Retirement hands tasks back: however often workers go, a task fails by its own errors only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, Scheduler, Worker, wait
from distributed.core import Status

from daskjob.agent import Agent, retire
from daskjob.core.policies.scaling import RETIRE_ADDRESSES

LOCAL: dict[str, Any] = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}


def noted(path: str, line: str) -> str:
    """A task whose runs are counted."""
    with Path(path).open("a") as file:
        file.write(f"{line}\n")
    return line


def long(path: str, gate: str) -> str:
    """A task that runs until a file exists."""
    noted(path, "long")
    while not Path(gate).exists():
        time.sleep(0.01)
    return "done"


def brief(path: str, seconds: float) -> str:
    noted(path, "brief")
    time.sleep(seconds)
    return "done"


class Cluster:
    """A scheduler with the agent and its workers, all in this process."""

    def __init__(self, scheduler: Scheduler, client: Client, stack: AsyncExitStack):
        self.scheduler = scheduler
        self.client = client
        self.agent = Agent(scheduler, [])
        scheduler.add_plugin(self.agent)
        self.stack = stack
        self.workers: dict[str, Worker] = {}

    async def add(self, *, nthreads: int = 1) -> str:
        worker = await self.stack.enter_async_context(
            Worker(self.scheduler.address, nthreads=nthreads, **LOCAL)
        )
        self.workers[worker.address] = worker
        async with asyncio.timeout(20):
            # Until then it takes neither tasks nor data.
            while self.scheduler.workers[worker.address].status != Status.running:
                await asyncio.sleep(0.01)
        return str(worker.address)

    async def stop(self, address: str) -> None:
        """Stop a worker as SIGTERM does, and wait until the scheduler has seen it."""
        await self.workers.pop(address).close(executor_wait=False)
        async with asyncio.timeout(20):
            while address in self.scheduler.workers:
                await asyncio.sleep(0.01)

    async def runs_on(self, key: str) -> str:
        """Return the worker that runs a task, as soon as its heartbeat names it."""
        async with asyncio.timeout(20):
            while True:
                ts = self.scheduler.tasks.get(key)
                ws = ts.processing_on if ts else None
                if ws is not None and ts in ws.executing:
                    return str(ws.address)
                await asyncio.sleep(0.01)


@asynccontextmanager
async def started() -> AsyncIterator[Cluster]:
    async with (
        AsyncExitStack() as stack,
        Scheduler(port=0, **LOCAL) as scheduler,
        Client(scheduler.address, asynchronous=True) as client,
        AsyncExitStack() as workers,
    ):
        yield Cluster(scheduler, client, workers)
        await stack.aclose()


def runs(path: Path) -> list[str]:
    """Return what ran; to be read before the workers end, which lose results then."""
    return path.read_text().split()


def test_10_scale_downs_under_one_long_task_end_with_its_result(tmp_path: Path) -> None:
    """distributed fails a task with KilledWorker when the fourth worker is lost that ran it."""
    asyncio.run(_ten_scale_downs(tmp_path))


async def _ten_scale_downs(tmp_path: Path) -> None:
    path, gate = tmp_path / "runs", tmp_path / "gate"
    async with started() as cluster:
        for _ in range(3):
            await cluster.add()
        future = cluster.client.submit(long, str(path), str(gate), key="long")
        others = cluster.client.map(
            noted, [str(path)] * 50, [str(i) for i in range(50)], key=[f"n-{i}" for i in range(50)]
        )
        for _ in range(10):
            address = await cluster.runs_on("long")
            answer = await retire(cluster.agent, [address], 1)
            assert answer["retired"] == [address]
            assert not cluster.scheduler.workers[address].processing
            await cluster.stop(address)
            await cluster.add()
        await wait(others)
        assert cluster.scheduler.tasks["long"].suspicious == 0
        await cluster.runs_on("long")
        gate.touch()
        assert await future == "done"
        found = runs(path)
    assert found.count("long") == 11
    # All that was not running was computed once, and no result was lost.
    assert sorted(line for line in found if line != "long") == sorted(map(str, range(50)))


def test_a_task_that_ends_within_half_of_the_time_is_not_computed_again(tmp_path: Path) -> None:
    asyncio.run(_brief_task(tmp_path))


async def _brief_task(tmp_path: Path) -> None:
    path = tmp_path / "runs"
    async with started() as cluster:
        await cluster.add()
        # Longer than some heartbeats, one of which must name it.
        future = cluster.client.submit(brief, str(path), 3.0, key="brief")
        address = await cluster.runs_on("brief")
        await cluster.add()
        assert (await retire(cluster.agent, [address], 20))["retired"] == [address]
        await cluster.stop(address)
        # Its result had been moved before.
        assert await future == "done"
        assert runs(path) == ["brief"]


def test_tasks_that_wait_on_a_retiring_worker_are_computed_elsewhere_at_once(
    tmp_path: Path,
) -> None:
    asyncio.run(_waiting_tasks(tmp_path))


async def _waiting_tasks(tmp_path: Path) -> None:
    path, gate = tmp_path / "runs", tmp_path / "gate"
    async with started() as cluster:
        first = await cluster.add()
        future = cluster.client.submit(long, str(path), str(gate), key="long")
        others = [
            cluster.client.submit(
                noted, str(path), str(i), key=f"n-{i}", workers=[first], allow_other_workers=True
            )
            for i in range(5)
        ]
        await cluster.runs_on("long")
        await cluster.add()
        retiring = asyncio.ensure_future(retire(cluster.agent, [first], 60))
        async with asyncio.timeout(20):
            await wait(others)
        assert not retiring.done()
        gate.touch()
        assert (await retiring)["retired"] == [first]
        assert await future == "done"
        assert sorted(runs(path)) == ["0", "1", "2", "3", "4", "long"]


@pytest.mark.parametrize("pause", [0.0, 0.009])
def test_2_retirements_of_the_only_worker_at_once_leave_it_running(pause: float) -> None:
    """Each is given up, since its data has no place to go; then the worker takes tasks again."""
    asyncio.run(_two_at_once(pause))


async def _two_at_once(pause: float) -> None:
    async with started() as cluster:
        address = await cluster.add()
        kept = cluster.client.submit(int, 1)
        await kept
        for _ in range(5):
            first = asyncio.ensure_future(retire(cluster.agent, [address], 5))
            await asyncio.sleep(pause)
            answers = await asyncio.gather(first, retire(cluster.agent, [address], 5))
            assert [answer["retired"] for answer in answers] == [[], []]
        async with asyncio.timeout(20):
            assert await cluster.client.submit(int, 2) == 2
        assert cluster.workers[address].status == Status.running
        assert cluster.scheduler.workers[address].status == Status.running


def test_a_body_has_room_for_a_step_of_the_longest_addresses() -> None:
    from daskjob.agent import BODY_LIMIT_BYTES

    longest = f'"tls://{"x" * 253}:65535",'
    assert RETIRE_ADDRESSES * len(longest) + 100 < BODY_LIMIT_BYTES
