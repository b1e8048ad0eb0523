"""Prefect's tasks on the cluster of a job: the state of a task is true whatever dies."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from typing import Any

import dask
import distributed
import pytest
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.context import FlowRunContext

from daskjob.integrations.prefect import DaskJobTaskRunner
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("server")


@pytest.fixture(scope="module")
def scheduler(server: object) -> Iterator[str]:
    """A cluster beside the flows, as a job's is; its workers have the settings of the flows."""
    del server
    # One death is enough to show what becomes of a task.
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", processes=True
        ) as cluster,
    ):
        yield str(cluster.scheduler_address)


@pytest.fixture(autouse=True)
def in_job(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", scheduler)


@task
def square(number: int) -> int:
    return number * number


@task
def dies() -> None:
    os._exit(1)


@task
def fails() -> None:
    raise ValueError("no such table")


def test_tasks_run_on_the_cluster_of_the_job(scheduler: str) -> None:
    runner = DaskJobTaskRunner()
    assert runner.address == scheduler
    assert runner.duplicate().address == scheduler

    @flow(task_runner=runner)
    def squares() -> list[int]:
        return [one.result() for one in square.map(range(5))]

    assert squares() == [0, 1, 4, 9, 16]


def test_a_task_whose_workers_die_ends_as_crashed() -> None:
    seen: list[Any] = []

    @flow(task_runner=DaskJobTaskRunner())
    def lost() -> None:
        context: Any = FlowRunContext.get()
        seen.append(context.flow_run.id)
        future = dies.submit()
        future.wait()
        seen.append(future.state)

    lost(return_state=True)
    flow_run, state = seen
    assert state.is_crashed()
    assert "KilledWorker" in state.message
    wait_until(lambda: _states(flow_run) == ["CRASHED"], pause=0.2)


def test_a_flow_whose_task_is_lost_fails() -> None:
    @flow(task_runner=DaskJobTaskRunner())
    def lost() -> Any:
        return dies.submit()

    state = lost(return_state=True)
    assert state.is_failed() or state.is_crashed(), state


def test_an_exception_of_a_task_stays_its_own() -> None:
    @flow(task_runner=DaskJobTaskRunner())
    def wrong() -> None:
        fails.submit().result()

    with pytest.raises(ValueError, match="no such table"):
        wrong()


def test_outside_of_a_job_the_cluster_is_a_kubecluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS")
    runner = DaskJobTaskRunner(cluster_kwargs={"n_workers": 3})
    assert runner.cluster_class == "daskjob.KubeCluster"
    assert runner.cluster_kwargs == {"n_workers": 3}
    assert DaskJobTaskRunner(address="tcp://10.0.0.1:8786").address == "tcp://10.0.0.1:8786"


def test_a_packed_runner_takes_the_cluster_of_the_job_that_unpacks_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS")
    outside = DaskJobTaskRunner(cluster_kwargs={"n_workers": 3})
    fixed = DaskJobTaskRunner(address="tcp://10.0.0.1:8786")
    packed = pickle.dumps(outside), pickle.dumps(fixed)
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://10.0.0.2:8786")
    inside, same = (pickle.loads(one) for one in packed)
    assert (inside.address, inside.cluster_kwargs) == ("tcp://10.0.0.2:8786", {})
    assert same.address == "tcp://10.0.0.1:8786"
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS")
    again = pickle.loads(pickle.dumps(inside))
    assert (again.address, again.cluster_kwargs) == (None, {"n_workers": 3})


def _states(flow_run: Any) -> list[str]:
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
    with get_client(sync_client=True) as client:
        return [str(run.state_type.value) for run in client.read_task_runs(flow_run_filter=wanted)]
