"""The block and its tasks, in flows: results, typed failures, retries, the log."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prefect import flow
from prefect.context import FlowRunContext

from daskjob.core.errors import UserFailure
from daskjob.integrations.prefect import DaskJob, arun_daskjob, run_daskjob
from tests.orchestrators.prefect.conftest import Place, with_code
from tests.orchestrators.prefect.server import Server
from tests.waiting import wait_until

SUMS = """
import json, os
from distributed import Client
with Client(os.environ["DASK_SCHEDULER_ADDRESS"]) as client:
    total = sum(client.gather(client.map(lambda x: x * x, range(20))))
print("the sum is", total, flush=True)
with open(os.environ["DASKJOB_RESULT_FILE"], "w") as file:
    json.dump({"total": total}, file)
"""
pytestmark = pytest.mark.usefixtures("server")

FAILS = "import sys; print('no such table', file=sys.stderr); sys.exit(3)"


def flow_run_id() -> str:
    context: Any = FlowRunContext.get()
    return str(context.flow_run.id)


def test_a_flow_gets_the_result_and_the_log_of_its_job(server: Server, place: Place) -> None:
    @flow
    def sums() -> tuple[str, Any]:
        return flow_run_id(), run_daskjob(DaskJob(**with_code(place, SUMS)))

    flow_run, result = sums()
    assert result == {"total": 2470}
    [job] = place.known(flow_run)
    assert job.status.succeeded
    logs = wait_until(lambda: _with("the sum is 2470", server.logs(flow_run)), pause=0.2)
    assert _with(f"Submitted DaskJob {job.name}", logs)


def _with(text: str, lines: list[str]) -> list[str]:
    return lines if any(text in line for line in lines) else []


def test_a_failed_job_fails_the_task_with_its_class_and_a_retry_starts_another(
    place: Place,
) -> None:
    seen: list[str] = []

    @flow
    def fails() -> None:
        seen.append(flow_run_id())
        run_daskjob.with_options(retries=1)(DaskJob(**with_code(place, FAILS)))

    with pytest.raises(UserFailure, match="3") as caught:
        fails()
    assert caught.value.exit_code == 3
    assert "no such table" in caught.value.log_tail
    assert [job.name[-3:] for job in place.known(seen[0])] == ["-g1", "-g2"]


def test_tasks_that_run_at_once_have_a_job_each(machine: Place) -> None:
    @flow
    async def several() -> tuple[str, Any]:
        job = DaskJob(**with_code(machine, SUMS))
        other = job.with_fields(env={"X": "1"})
        found = await asyncio.gather(arun_daskjob(job), arun_daskjob(job), arun_daskjob(other))
        return flow_run_id(), list(found)

    flow_run, results = asyncio.run(several())
    assert results == [{"total": 2470}] * 3
    assert len(machine.known(flow_run)) == 3


def test_a_flow_that_is_retried_takes_the_result_of_a_job_that_succeeded(machine: Place) -> None:
    tries: list[str] = []

    @flow(retries=1)
    def later_error() -> Any:
        result = run_daskjob(DaskJob(**with_code(machine, SUMS)))
        tries.append(flow_run_id())
        if len(tries) == 1:
            raise OSError("the disk is full")
        return result

    assert later_error() == {"total": 2470}
    assert len(tries) == 2
    assert len(machine.known(tries[0])) == 1


def test_without_reattach_each_try_has_a_job_of_its_own(machine: Place) -> None:
    before = {job.name for job in machine.jobs.list()}

    @flow
    def twice() -> None:
        for _ in range(2):
            DaskJob(**with_code(machine, "pass", reattach=False)).trigger().wait_for_completion()

    twice()
    assert len({job.name for job in machine.jobs.list()} - before) == 2


def test_a_block_is_of_use_outside_of_flows_and_after_it_was_saved(machine: Place) -> None:
    DaskJob(**with_code(machine, SUMS)).save("sums", overwrite=True)
    run = DaskJob.load("sums").trigger()
    lines: list[str] = []
    run.wait_for_completion(print_func=lines.append)
    assert run.fetch_result() == {"total": 2470}
    assert lines == ["the sum is 2470"]
    assert run.status.succeeded


def test_credentials_of_prefect_kubernetes_reach_the_cluster(cluster: Place) -> None:
    from prefect_kubernetes.credentials import KubernetesClusterConfig, KubernetesCredentials

    found = KubernetesClusterConfig.from_file(cluster.fields["kubeconfig"])
    fields = {**cluster.fields, "kubeconfig": None}
    block = DaskJob(**fields, credentials=KubernetesCredentials(cluster_config=found))

    async def listed() -> tuple[Any, ...]:
        async with block.jobs() as jobs:
            return await jobs.list({"kubernetes.dask.org/submitted-by": "nobody"})

    assert asyncio.run(listed()) == ()
