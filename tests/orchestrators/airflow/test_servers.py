"""Tasks that are killed, ended, restarted and cleared, on Airflow's own processes.

Whatever happens to a process, each generation of a task has one DaskJob.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.plugin import Kubectl, Kubernetes
from tests.orchestrators.airflow.conftest import DAGS, connection_to
from tests.orchestrators.airflow.servers import Servers
from tests.waiting import wait_until

PATIENCE = 120.0


@pytest.fixture(scope="module")
def servers(
    with_crds: Kubernetes, place: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    """Airflow's four processes, for all tests of this file."""
    home = tmp_path_factory.mktemp("servers")
    started = Servers(home, DAGS, connection_to(with_crds, place))
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture
def jobs(with_crds: Kubernetes, place: str) -> Jobs:
    """The jobs of the namespace."""
    return Jobs(Kubectl(with_crds, place))


class Jobs:
    """The DaskJobs that tasks of tests have started."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl

    def of(self, run_id: str) -> list[dict[str, Any]]:
        """Return the jobs of a run, the oldest first."""
        found = [
            job
            for job in self.kubectl.items("daskjobs")
            if job["metadata"]["annotations"].get("airflow.apache.org/run_id") == run_id
        ]
        return sorted(found, key=lambda job: str(job["metadata"]["name"]))

    def running(self, run_id: str) -> dict[str, Any]:
        """Wait until the last job of a run is running; return it."""

        def found() -> dict[str, Any] | None:
            jobs = self.of(run_id)
            status = jobs[-1].get("status", {}) if jobs else {}
            return jobs[-1] if status.get("phase") == "Running" else None

        job = wait_until(found, PATIENCE, lambda: self.of(run_id), pause=0.3)
        assert job is not None
        return job

    def let_end(self, job: dict[str, Any]) -> None:
        """Let a job end successfully."""
        self.kubectl("exec", job["status"]["jobRunnerPodName"], "--", "touch", "/tmp/go")

    def phases(self, run_id: str) -> list[str]:
        """Return the phases of the jobs of a run."""
        return [str(job.get("status", {}).get("phase")) for job in self.of(run_id)]

    def until(self, run_id: str, *phases: str) -> None:
        """Wait until the jobs of a run have these phases."""
        wait_until(
            lambda: self.phases(run_id) == list(phases),
            PATIENCE,
            lambda: self.phases(run_id),
            pause=0.3,
        )


def test_a_killed_process_of_a_task_leaves_its_job_to_the_next_try(
    servers: Servers, jobs: Jobs
) -> None:
    servers.trigger("again", "killed")
    job = jobs.running("killed")
    os.kill(servers.process_of_task("again", "killed"), signal.SIGKILL)
    servers.until_logged("again", "killed", 2, "following it")
    jobs.let_end(job)
    servers.until("again", "killed", "success")
    assert jobs.phases("killed") == ["Succeeded"]


def test_a_worker_that_shuts_down_leaves_the_job_while_a_retry_remains(
    servers: Servers, jobs: Jobs
) -> None:
    servers.trigger("again", "shutdown")
    job = jobs.running("shutdown")
    os.kill(servers.process_of_task("again", "shutdown"), signal.SIGTERM)
    servers.until_logged("again", "shutdown", 2, "following it")
    assert "The next try follows the same job" in servers.log("again", "shutdown", 1)
    assert jobs.phases("shutdown") == ["Running"]
    jobs.let_end(job)
    servers.until("again", "shutdown", "success")
    assert jobs.phases("shutdown") == ["Succeeded"]


def test_a_worker_that_shuts_down_at_the_last_try_cancels_the_job(
    servers: Servers, jobs: Jobs
) -> None:
    servers.trigger("once", "last")
    jobs.running("last")
    os.kill(servers.process_of_task("once", "last"), signal.SIGTERM)
    jobs.until("last", "Cancelled")
    servers.until("once", "last", "failed")


def test_a_task_that_is_marked_failed_cancels_its_job(servers: Servers, jobs: Jobs) -> None:
    servers.trigger("again", "marked")
    jobs.running("marked")
    servers.mark("again", "marked", "failed")
    jobs.until("marked", "Cancelled")
    assert servers.task("again", "marked")["state"] == "failed"


def test_a_deferred_task_that_is_marked_failed_cancels_its_job(
    servers: Servers, jobs: Jobs
) -> None:
    servers.trigger("deferred", "marked-deferred")
    jobs.running("marked-deferred")
    servers.until("deferred", "marked-deferred", "deferred")
    servers.mark("deferred", "marked-deferred", "failed")
    jobs.until("marked-deferred", "Cancelled")


def test_a_restarted_triggerer_follows_the_same_job_and_a_cleared_task_starts_the_next(
    servers: Servers, jobs: Jobs
) -> None:
    servers.trigger("deferred", "restart")
    job = jobs.running("restart")
    servers.until("deferred", "restart", "deferred")
    wait_until(
        lambda: servers.links("deferred", "restart").get("Dask dashboard"),
        PATIENCE,
        lambda: servers.links("deferred", "restart"),
        pause=0.5,
    )
    servers.stop_one("triggerer")
    assert jobs.phases("restart") == ["Running"]
    servers.start_one("triggerer")
    jobs.let_end(job)
    servers.until("deferred", "restart", "success")
    assert jobs.phases("restart") == ["Succeeded"]
    assert "the job waits" in servers.log("deferred", "restart")

    servers.clear("deferred", "restart")
    wait_until(lambda: len(jobs.of("restart")) == 2, PATIENCE, pause=0.3)
    jobs.let_end(jobs.running("restart"))
    jobs.until("restart", "Succeeded", "Succeeded")
    servers.until("deferred", "restart", "success")
