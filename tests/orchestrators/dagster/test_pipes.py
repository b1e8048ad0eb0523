"""Assets of Dagster whose work is a DaskJob of this machine.

Dagster reads annotations, so they are not postponed here.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    ExecuteInProcessResult,
    Failure,
    RetryPolicy,
    asset,
    materialize,
)

from daskjob.core.errors import Invalid, UserFailure
from daskjob.integrations.dagster import PipesDaskJobClient
from daskjob.submit.local import LocalJobs
from tests.waiting import wait_until

#: Dagster warns of what itself uses.
pytestmark = pytest.mark.filterwarnings("default")

REPORTS = """
import json, os
from dagster_pipes import open_dagster_pipes
with open_dagster_pipes() as pipes:
    print("adding")
    pipes.log.info("adding in the job")
    total = sum(pipes.get_extra("numbers"))
    pipes.report_asset_materialization(metadata={"total": total})
    pipes.report_custom_message({"total": total})
json.dump({"total": total}, open(os.environ["DASKJOB_RESULT_FILE"], "w"))
"""
#: Reports its asset, and fails in the first attempt.
FAILS_ONCE = (
    REPORTS
    + """
if os.environ["DASKJOB_ATTEMPT"] == "0":
    raise SystemExit(3)
"""
)
#: Goes on once there is a file.
WAITS = """
import os, time
while not os.path.exists({path!r}):
    time.sleep(0.05)
"""


def job(code: str, **spec: Any) -> dict[str, Any]:
    """A DaskJob without workers that runs Python code."""

    def pod(*args: str) -> dict[str, Any]:
        return {"spec": {"containers": [{"name": "main", "image": "any", "args": list(args)}]}}

    cluster = {
        "scheduler": pod("dask", "scheduler"),
        "worker": {"replicas": 0, **pod("dask", "worker")},
    }
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": "sums"},
        "spec": {
            "backoffLimit": 0,
            "job": pod(sys.executable, "-c", code),
            "cluster": {"spec": cluster},
            **spec,
        },
    }


def materialized(
    work: Callable[[AssetExecutionContext, PipesDaskJobClient], Any],
    instance: DagsterInstance,
    jobs: LocalJobs,
    *,
    retries: int = 0,
) -> ExecuteInProcessResult:
    """Materialize an asset that this function makes."""

    @asset(name="sums", retry_policy=RetryPolicy(max_retries=retries))
    def sums(context: AssetExecutionContext, daskjob: PipesDaskJobClient) -> Any:
        return work(context, daskjob)

    resources = {"daskjob": PipesDaskJobClient(jobs)}
    return materialize([sums], resources=resources, instance=instance, raise_on_error=False)


def messages(instance: DagsterInstance, result: ExecuteInProcessResult) -> str:
    return log_of(instance, result.run_id)


def failure_of(result: ExecuteInProcessResult) -> Any:
    (event,) = [e for e in result.all_events if e.is_step_failure]
    return event.step_failure_data.user_failure_data


def test_an_asset_has_what_its_job_reports(
    instance: DagsterInstance, jobs: LocalJobs, capfd: pytest.CaptureFixture[str]
) -> None:
    def work(context: AssetExecutionContext, daskjob: PipesDaskJobClient) -> Any:
        done = daskjob.run(
            context=context,
            job=job(FAILS_ONCE, backoffLimit=1, backoff={"initialSeconds": 1}),
            extras={"numbers": [1, 2, 3]},
            timeout_seconds=600,
        )
        assert list(done.get_custom_messages()) == [{"total": 6}]
        return done.get_materialize_result()

    result = materialized(work, instance, jobs)
    assert result.success
    (found,) = result.asset_materializations_for_node("sums")
    # Each attempt reports it; the last one counts.
    assert found.metadata["total"].value == 6
    (ran,) = jobs.list()
    assert found.metadata["daskjob"].value == ran.name
    assert found.metadata["daskjob attempts"].value == 2
    assert found.metadata["daskjob result"].value == {"total": 6}
    assert "adding in the job" in messages(instance, result)
    assert f"default/{ran.name}" in messages(instance, result)
    assert "adding\n" in capfd.readouterr().out
    assert ran.manifest["spec"]["activeDeadlineSeconds"] == 600
    assert ran.manifest["metadata"]["labels"]["kubernetes.dask.org/submitted-by"] == "dagster"
    assert ran.name.startswith("sums-")
    assert ran.name.endswith("-g1")


def test_a_failed_job_fails_the_step_with_its_reason_and_a_retry_starts_another(
    instance: DagsterInstance, jobs: LocalJobs
) -> None:
    code = "print('no such date'); raise SystemExit(3)"

    def work(context: AssetExecutionContext, daskjob: PipesDaskJobClient) -> Any:
        with pytest.raises(Failure) as caught:
            daskjob.run(context=context, job=job(code))
        assert isinstance(caught.value.__cause__, UserFailure)
        raise caught.value

    result = materialized(work, instance, jobs, retries=1)
    assert not result.success
    found = failure_of(result)
    assert found.metadata["reason"].value == "ExitCode"
    assert found.metadata["exit code"].value == 3
    assert "no such date" in found.metadata["end of the log"].value
    assert sorted(each.name[-2:] for each in jobs.list()) == ["g1", "g2"]


def test_a_retry_adopts_the_job_of_a_try_that_was_lost(
    instance: DagsterInstance, jobs: LocalJobs, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    code = WAITS.format(path=str(go_on)) + REPORTS

    class Lost(Exception):
        """What ends a try without its job: the connection, the process."""

    def work(context: AssetExecutionContext, daskjob: PipesDaskJobClient) -> Any:
        if context.retry_number == 0:
            wait = jobs.logs

            def lose(*_arguments: Any, **_more: Any) -> Any:
                raise Lost

            jobs.logs = lose  # type: ignore[method-assign]
            try:
                daskjob.run(
                    context=context,
                    job=job(code),
                    extras={"numbers": [4]},
                    on_interrupt="keep",
                )
            finally:
                jobs.logs = wait  # type: ignore[method-assign]
        go_on.touch()
        done = daskjob.run(context=context, job=job(code), extras={"numbers": [4]})
        return done.get_materialize_result()

    result = materialized(work, instance, jobs, retries=1)
    assert result.success
    (found,) = result.asset_materializations_for_node("sums")
    assert found.metadata["total"].value == 4
    (ran,) = jobs.list()
    assert f"[pipes] DaskJob {ran.name} of an earlier try is adopted." in messages(instance, result)


def test_jobs_of_one_step_are_not_mixed_up_and_a_taken_result_is_not_taken_again(
    instance: DagsterInstance, jobs: LocalJobs
) -> None:
    def work(context: AssetExecutionContext, daskjob: PipesDaskJobClient) -> Any:
        numbers = [[1], [2, 3]]
        done = [
            daskjob.run(context=context, job=job(REPORTS), extras={"numbers": each})
            for each in numbers
        ]
        totals = [each.get_custom_messages()[0]["total"] for each in done]
        assert totals == [1, 5]
        if context.retry_number == 0:
            raise ValueError("the step does not like the result")
        return done[1].get_materialize_result()

    result = materialized(work, instance, jobs, retries=1)
    assert result.success
    # Two for each try.
    assert sorted(each.name[-2:] for each in jobs.list()) == ["g1", "g1", "g2", "g2"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"backoffLimit": "many"}, "spec.backoffLimit"),
        ({"retries": 3}, "spec.retries"),
        ({"job": {}}, "spec.job"),
    ],
)
def test_a_wrong_manifest_fails_once_with_its_mistakes(
    wrong: dict[str, Any], message: str, instance: DagsterInstance, jobs: LocalJobs
) -> None:
    tries = []

    def work(context: AssetExecutionContext, daskjob: PipesDaskJobClient) -> Any:
        tries.append(context.retry_number)
        with pytest.raises(Failure) as caught:
            daskjob.run(context=context, job=job("pass", **wrong))
        assert isinstance(caught.value.__cause__, Invalid)
        raise caught.value

    result = materialized(work, instance, jobs, retries=2)
    assert tries == [0]
    assert message in failure_of(result).description
    assert jobs.list() == ()


PROGRAM = """
import sys
from dagster import DagsterInstance, ReexecutionOptions, execute_job, reconstructable
from tests.orchestrators.dagster.waiting_job import waiting_job

if __name__ == "__main__":
    with DagsterInstance.get() as instance:
        parent = sys.argv[1] if len(sys.argv) > 1 else ""
        options = ReexecutionOptions.from_failure(parent, instance) if parent else None
        with execute_job(
            reconstructable(waiting_job),
            instance=instance,
            reexecution_options=options,
            # As Dagster's daemon and web page do.
            tags={"dagster/is_resume_retry": "true"} if parent else {},
        ) as result:
            sys.exit(0 if result.success else 1)
"""


def started(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a run of a job that waits for a file that never comes, as a process."""
    environment = {**os.environ, "GO_ON": str(folder / "go-on")}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def test_a_killed_run_is_continued_with_its_job_and_a_terminated_one_cancels_it(
    instance: DagsterInstance, jobs: LocalJobs, tmp_path: Path
) -> None:
    process = started(tmp_path)
    (running,) = wait_until(lambda: [job for job in jobs.list() if job.status.phase == "Running"])
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (run,) = instance.get_runs()
    instance.report_run_failed(run, "its process was killed")
    again = started(tmp_path, run.run_id)
    adopted = f"{running.name} of an earlier try is adopted"
    wait_until(lambda: adopted in log_of(instance, instance.get_runs(limit=1)[0].run_id))
    again.send_signal(signal.SIGINT)
    assert again.wait(60) != 0
    assert jobs.wait(running.ref, raise_on_failure=False).status.phase == "Cancelled"
    assert [each.ref for each in jobs.list()] == [running.ref]
    assert all(each.is_finished for each in instance.get_runs())


def log_of(instance: DagsterInstance, run_id: str) -> str:
    entries = instance.all_logs(run_id)
    events = [entry.dagster_event for entry in entries if entry.dagster_event]
    errors = [getattr(event.event_specific_data, "error", None) for event in events]
    texts = [*(entry.user_message for entry in entries), *(event.message for event in events)]
    return "\n".join(map(str, [*texts, *(error.to_string() for error in errors if error)]))
