"""Answers stay below their limit for any number of workers and names."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from distributed import Scheduler
from distributed.core import Status
from distributed.scheduler import WorkerState

from daskjob.agent import Agent, History


def state_of(count: int) -> bytes:
    """Return the state of a real scheduler with this number of fake workers."""

    async def answer() -> bytes:
        async with Scheduler(
            host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0"
        ) as scheduler:
            for i in range(count):
                ws = worker(i)
                scheduler.workers[ws.address] = ws
            try:
                return Agent(scheduler, []).state()
            finally:
                scheduler.workers.clear()

    return asyncio.run(answer())


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
    ("count", "columns"), [(0, 8), (1000, 8), (1001, 5), (2000, 5), (3000, 2), (6000, 2)]
)
def test_a_state_stays_below_256_kib_and_names_its_columns(count: int, columns: int) -> None:
    body = state_of(count)
    assert len(body) <= 256 * 1024
    workers = json.loads(body)["workers"]
    assert workers["total"] == count
    assert len(workers["columns"]) == columns
    assert all(len(row) == columns for row in workers["rows"])
    if count <= 3000:
        assert len(workers["rows"]) == count
    else:
        assert len(workers["rows"]) > 3000


def test_1000_changes_are_kept_as_at_most_200_points_with_first_last_and_peak() -> None:
    history = History()
    for second in range(1000):
        history.add(float(second), second % 700)
    assert len(history.points) <= 200
    assert history.points[0][0] == 0.0
    assert history.points[-1][1] == 999 % 700
    assert history.peak == 699
