"""Links, progress, lines of logs, hooks: what a run's page shows, and what ends its jobs."""

from __future__ import annotations

from typing import Any

import pytest
from prefect import flow
from prefect.context import FlowRunContext

from daskjob.core.errors import DaskJobError, PolicyFailure
from daskjob.integrations.prefect import DaskJob, cancelling_daskjobs, run_daskjob
from daskjob.integrations.prefect.artifacts import artifact_key
from daskjob.integrations.prefect.log_lines import LogLines
from daskjob.submit.jobs import Job, JobRef, LogChunk
from tests.orchestrators.prefect.conftest import Place, with_code
from tests.orchestrators.prefect.server import Server
from tests.waiting import wait_until

TASKS = """
import os
from distributed import Client
with Client(os.environ["DASK_SCHEDULER_ADDRESS"]) as client:
    client.gather(client.map(lambda x: __import__("time").sleep(0.2), range(40), pure=False))
"""


def test_a_run_shows_the_dashboard_and_the_progress_of_its_job(
    server: Server, machine: Place
) -> None:
    @flow
    def slow() -> str:
        run_daskjob(DaskJob(**with_code(machine, TASKS)))
        context: Any = FlowRunContext.get()
        return str(context.flow_run.id)

    flow_run = slow()
    [job] = machine.known(flow_run)
    found = wait_until(lambda: _by_type(server, flow_run, 2), pause=0.2)
    assert found["progress"]["data"] == 100.0
    assert found["progress"]["key"] == "job-progress"
    assert job.name in found["progress"]["description"]
    assert job.status.dashboard_url in found["markdown"]["data"]


def _by_type(server: Server, flow_run: str, count: int) -> dict[str, Any]:
    found = {one["type"]: one for one in server.artifacts(flow_run)}
    return found if len(found) == count else {}


def test_the_hook_cancels_the_jobs_of_its_flow_run_alone(server: Server, machine: Place) -> None:
    del server
    block = DaskJob(
        **with_code(machine, "import time; print('waiting', flush=True); time.sleep(600)")
    )

    @flow
    def leaves_one() -> Any:
        block.trigger()
        context: Any = FlowRunContext.get()
        return context.flow_run

    left, other = leaves_one(), leaves_one()
    machine.running(left.id)
    cancelling_daskjobs(block)(leaves_one, left, None)
    machine.ended(left.id, "Cancelled")
    [unaffected] = machine.known(other.id)
    assert not unaffected.status.finished
    machine.jobs.cancel(unaffected.ref)


def test_a_job_that_is_cancelled_elsewhere_fails_the_task_without_a_retry(
    server: Server, machine: Place
) -> None:
    del server
    job = DaskJob(**with_code(machine, "import time; time.sleep(600)"), timeout_seconds=5)

    @flow
    def limited() -> None:
        run_daskjob.with_options(retries=2)(job)

    with pytest.raises(PolicyFailure, match="Deadline"):
        limited()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nightly-0123456789-g12", "nightly-dashboard"),
        ("nightly-0123456789ab", "nightly-dashboard"),
        ("My.Job-0123456789-g1", "my-job-dashboard"),
        ("nightly", "nightly-dashboard"),
    ],
)
def test_artifacts_of_all_runs_of_a_job_have_one_key(name: str, expected: str) -> None:
    assert artifact_key(Job(JobRef(name, "default", ""), {}), "dashboard") == expected


def test_lines_are_whole_and_at_most_so_many_in_a_second() -> None:
    now, lines = [0.0], list[str]()
    copy = LogLines(lines.append, limit=2, clock=lambda: now[0])
    for data in (b"a", b"b\ncd\n", b"e\nf\n"):
        copy.add(LogChunk("runner", data))
    assert lines == ["ab", "cd"]
    now[0] = 1.0
    copy.add(LogChunk("runner", b"g\nlast"))
    copy.end()
    assert lines[2:] == ["… 2 lines skipped: daskjob logs has them", "g", "last"]


def test_errors_of_daskjob_survive_the_way_through_a_state() -> None:
    import pickle

    from daskjob.integrations.prefect.following import NotPickedUp

    for error in (NotPickedUp("no operator"), PolicyFailure("Cancelled", "by a test")):
        again = pickle.loads(pickle.dumps(error))
        assert isinstance(again, DaskJobError)
        assert str(again) == str(error)
