"""Answers stay below their limit for any number of workers and names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from distributed import Scheduler
from distributed.core import Status
from distributed.scheduler import WorkerState

from daskjob.agent import Agent, History
from daskjob.backends.agent_answers import whole_state
from daskjob.core.dask import DaskState
from daskjob.core.manifests import Manifest


def state_of(count: int) -> bytes:
    """Return the state of a real scheduler with this number of fake workers."""

    async def answer() -> bytes:
        async with agent_with(count) as agent:
            return agent.state()

    return asyncio.run(answer())


@asynccontextmanager
async def agent_with(count: int) -> AsyncIterator[Agent]:
    async with Scheduler(host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0") as scheduler:
        for i in range(count):
            ws = worker(i)
            scheduler.workers[ws.address] = ws
        try:
            yield Agent(scheduler, [])
        finally:
            scheduler.workers.clear()


def worker(i: int) -> Any:
    return WorkerState(
        address=f"tcp://10.100.{i // 250}.{i % 250}:40000",
        status=Status.running,
        pid=i,
        name=f"a-job-of-some-length-default-worker-{i:010x}",
        nthreads=4,
        memory_limit=16 * 2**30,
        local_directory="/tmp",
        nanny=None,
        server_id=str(i),
    )


@pytest.mark.parametrize(
    ("count", "columns"), [(0, 8), (1000, 8), (1001, 5), (2000, 5), (3000, 5), (6000, 5)]
)
def test_a_state_stays_below_256_kib_and_names_its_columns(count: int, columns: int) -> None:
    body = state_of(count)
    assert len(body) <= 256 * 1024
    workers = json.loads(body)["workers"]
    assert workers["total"] == count
    assert len(workers["columns"]) == columns
    assert all(len(row) == columns for row in workers["rows"])
    if count <= 2000:
        assert len(workers["rows"]) == count
    else:
        assert len(workers["rows"]) > 2000


@pytest.mark.parametrize(("count", "pages"), [(1, 1), (2000, 1), (6000, 3), (10_000, 4)])
def test_all_workers_of_a_large_cluster_are_known_page_by_page(count: int, pages: int) -> None:
    asked: list[str] = []

    async def known() -> DaskState:
        async with agent_with(count) as agent:

            async def ask(route: str) -> Manifest:
                asked.append(route)
                query = parse_qs(urlsplit(route).query)
                answer: Manifest = json.loads(agent.state(after=query.get("after", [""])[0]))
                return answer

            return await whole_state(ask, "state?groups=x")

    state = asyncio.run(known())
    assert state.is_whole
    assert len({w.address for w in state.workers}) == len(state.workers) == count
    assert len(asked) == pages


def test_1000_changes_are_kept_as_at_most_200_points_with_first_last_and_peak() -> None:
    history = History()
    for second in range(1000):
        history.add(float(second), second % 700)
    assert len(history.points) <= 200
    assert history.points[0][0] == 0.0
    assert history.points[-1][1] == 999 % 700
    assert history.peak == 699
