"""Tasks that are killed, ended, restarted and cleared, on Airflow's own processes.

Whatever happens to a process, each generation of a task has one DaskJob.
"""

from __future__ import annotations

import os
import signal

from tests.orchestrators.airflow.jobs import Jobs
from tests.orchestrators.airflow.servers import Servers
from tests.waiting import wait_until

PATIENCE = 120.0


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
    wait_until(lambda: len(jobs.of("restart")) == 2, PATIENCE, servers.logs, pause=0.3)
    jobs.let_end(jobs.running("restart"))
    jobs.until("restart", "Succeeded", "Succeeded")
    servers.until("deferred", "restart", "success")


def test_a_triggerer_whose_process_crashes_leaves_its_jobs_to_the_next_one(
    servers: Servers, jobs: Jobs
) -> None:
    servers.trigger("deferred", "crash")
    job = jobs.running("crash")
    servers.until("deferred", "crash", "deferred")
    servers.until_logged("deferred", "crash", 1, "the job waits")
    servers.crash_runner_of_triggers()
    assert jobs.phases("crash") == ["Running"]
    servers.start_one("triggerer")
    jobs.let_end(job)
    servers.until("deferred", "crash", "success")
    assert jobs.phases("crash") == ["Succeeded"]
    assert servers.returned("deferred", "crash") == {"done": True}


def test_a_trigger_that_crashes_is_started_again_and_follows_the_same_job(
    servers: Servers, jobs: Jobs
) -> None:
    servers.trigger("crashes", "trigger")
    job = jobs.running("trigger")
    servers.until_logged("crashes", "trigger", 1, "the trigger failed and is started again")
    jobs.let_end(job)
    servers.until("crashes", "trigger", "success")
    assert jobs.phases("trigger") == ["Succeeded"]
