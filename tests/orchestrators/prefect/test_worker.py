"""The worker: one DaskJob for each flow run, and the right state whatever is killed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from prefect.exceptions import InfrastructureNotFound

from daskjob.integrations.prefect import DaskJobWorker
from tests.cluster.plugin import Kubernetes
from tests.orchestrators.prefect.conftest import Place
from tests.orchestrators.prefect.pool import (
    API_KEY,
    PATIENCE,
    TEAM_KEY,
    Pool,
    of_cluster,
    of_machine,
)
from tests.orchestrators.prefect.server import Server
from tests.waiting import wait_until

GO, NEVER = "/tmp/go", "/no/such/file"


@pytest.fixture(scope="module")
def pool(
    server: Server,
    cluster: Place,
    with_crds: Kubernetes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pool]:
    """A pool on a cluster."""
    folder = tmp_path_factory.mktemp("worker")
    with of_cluster(server, cluster, with_crds, folder) as found:
        yield found


@pytest.fixture(scope="module")
def worker(pool: Pool) -> Iterator[None]:
    """A worker for several tests."""
    with pool.worker():
        yield


def in_pod(pool: Pool, flow_run: Any, *command: str) -> str:
    """Run a command in the pod of a flow run's process."""
    name = pool.job(flow_run).status.job_runner_pod_name
    found: str = pool.kubectl("exec", str(name), "--", *command)
    return found


#: Kills Prefect's process of the flow run, as the kernel would.
KILL = """
import os, pathlib, signal
for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    words = path.read_bytes().split(bytes(1))
    if words[1:5] == [b"-m", b"prefect", b"flow-run", b"execute"]:
        os.kill(int(path.parent.name), signal.SIGKILL)
"""


@pytest.mark.usefixtures("worker")
def test_a_flow_run_is_one_daskjob_and_no_secret_is_seen(pool: Pool) -> None:
    flow_run = pool.run(go=GO, tasks=5, variables={"n_workers": 1})
    job = pool.waiting(flow_run)
    # What can be read while it runs: the objects, the arguments of processes, the pods' logs.
    shown = pool.kubectl("get", "daskjobs,daskclusters,pods,events,configmaps", "--output=json")
    arguments = in_pod(pool, flow_run, "sh", "-c", "cat /proc/[0-9]*/cmdline")
    pods = {item["metadata"]["name"]: item for item in pool.kubectl.items("pods")}
    runner = pods[str(job.status.job_runner_pod_name)]
    [secret] = [
        item
        for item in pool.kubectl.items("secrets")
        if item["metadata"]["name"] == f"{job.name}-env"
    ]
    in_pod(pool, flow_run, "touch", GO)
    pool.ended(flow_run, "Completed")
    ended = pool.job_ended(flow_run, "Succeeded")
    logs = pool.server.logs(flow_run)
    printed = pool.log.read_text()
    for text in (shown, arguments, json.dumps(logs), printed):
        assert API_KEY not in text
        assert TEAM_KEY not in text
    assert secret["metadata"]["ownerReferences"][0]["uid"] == job.ref.uid
    # prefect-kubernetes takes each pod with this label for one of its own flow runs.
    assert not [name for name in runner["metadata"]["labels"] if name.startswith("prefect.io/")]
    assert ended.manifest["metadata"]["annotations"]["prefect.io/flow-run-id"] == str(flow_run)
    assert f"the sum is 30, with a key of {len(TEAM_KEY)} letters" in logs
    assert f"DaskJob {job.name} in namespace {job.ref.namespace}" in logs
    assert any(line.startswith("Dask's dashboard: ") for line in logs)
    assert f"existing Dask cluster at tcp://{job.name}-scheduler" in printed
    found = pool.server.ask(f"flow_runs/{flow_run}")
    assert found["infrastructure_pid"] == f"{job.ref.namespace}:{job.name}"
    # Nothing is left but the job, which can be looked at.
    wait_until(lambda: not pods_of(pool, job.name), 120, pause=0.5)


def pods_of(pool: Pool, job: str) -> list[str]:
    names = [item["metadata"]["name"] for item in pool.kubectl.items("pods")]
    # The runner's pod stays for its log.
    return [name for name in names if name.startswith(job) and not name.endswith("-runner")]


@pytest.mark.usefixtures("worker")
def test_a_cancelled_flow_run_cancels_its_job(pool: Pool) -> None:
    flow_run = pool.run(go=GO)
    # This one waits for a node that does not exist.
    huge = {"runner_resources": {"requests": {"cpu": "1000"}}}
    pending = pool.run(go=GO, variables=huge)
    job = pool.waiting(flow_run)
    wait_until(lambda: pool.place.known(pending), 120, pause=0.5)
    pool.cancel(flow_run)
    pool.cancel(pending)
    for one in (flow_run, pending):
        pool.ended(one, "Cancelled")
        pool.job_ended(one, "Cancelled")
    wait_until(lambda: not pods_of(pool, job.name), 120, pause=0.5)


@pytest.mark.usefixtures("worker")
def test_a_failed_flow_fails_its_job_without_another_attempt(pool: Pool) -> None:
    flow_run = pool.run(fail=True, variables={"restarts": 3})
    assert "no such table" in pool.ended(flow_run, "Failed")
    job = pool.job_ended(flow_run, "Failed")
    assert job.status.attempt == 0


@pytest.mark.usefixtures("worker")
def test_a_lost_pod_and_a_killed_process_are_replaced_by_the_policy_of_the_job(pool: Pool) -> None:
    flow_run = pool.run(go=GO, variables={"restarts": 1})
    job = pool.waiting(flow_run)
    first = str(job.status.job_runner_pod_name)
    pool.kubectl("delete", "pod", first, "--wait=false")
    wait_until(lambda: starts(pool, flow_run) == 2, PATIENCE, pool.tail, pause=0.5)
    in_pod(pool, flow_run, "python", "-c", KILL)
    wait_until(lambda: starts(pool, flow_run) == 3, PATIENCE, pool.tail, pause=0.5)
    in_pod(pool, flow_run, "touch", GO)
    pool.ended(flow_run, "Completed")
    assert pool.job_ended(flow_run, "Succeeded").status.attempt == 2


def starts(pool: Pool, flow_run: Any) -> int:
    """Return in how many attempts the flow has come to its file."""
    return sum("the sum is" in line for line in pool.server.logs(flow_run))


def test_a_restarted_worker_watches_the_jobs_of_the_earlier_one(pool: Pool) -> None:
    with pool.worker() as process:
        killed, done = pool.run(go=GO), pool.run(go=GO)
        for flow_run in (killed, done):
            pool.waiting(flow_run)
        process.kill()
        process.wait()
    with pool.worker():
        watched = [f"Watching {pool.job(one).name}" for one in (killed, done)]
        wait_until(
            lambda: all(text in pool.log.read_text() for text in watched), 120, pool.tail, pause=0.5
        )
        in_pod(pool, killed, "python", "-c", KILL)
        message = pool.ended(killed, "Crashed")
        assert pool.job(killed).name in message
        assert "137" in message
        in_pod(pool, done, "touch", GO)
        pool.ended(done, "Completed")
        pool.job_ended(killed, "Failed")
        pool.job_ended(done, "Succeeded")


async def kill(pool: Pool, pid: str) -> None:
    """Kill the infrastructure of a flow run, as Prefect asks a worker to."""
    async with DaskJobWorker(work_pool_name=pool.name) as worker:
        configuration = await worker.job_configuration.from_template_and_values(
            worker.work_pool.base_job_template, {}
        )
        await worker.kill_infrastructure(pid, configuration)


def test_on_this_machine(
    server: Server, machine: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pool = of_machine(server, machine, tmp_path_factory.mktemp("local"))
    with pool.worker():
        done = pool.run(tasks=5, variables={"n_workers": 1})
        cancelled, killed = pool.run(go=NEVER), pool.run(go=NEVER)
        pool.ended(done, "Completed")
        pool.job_ended(done, "Succeeded")
        pool.waiting(cancelled)
        pool.cancel(cancelled)
        job = pool.waiting(killed)
        asyncio.run(kill(pool, f"{job.ref.namespace}:{job.name}"))
        for flow_run in (cancelled, killed):
            pool.ended(flow_run, "Cancelled")
            pool.job_ended(flow_run, "Cancelled")
    with pytest.raises(InfrastructureNotFound, match="never-was"):
        asyncio.run(kill(pool, "default:never-was"))
    kept = [path for path in machine.jobs._root.rglob("*") if path.is_file()]
    assert not [path for path in kept if TEAM_KEY.encode() in path.read_bytes()]
