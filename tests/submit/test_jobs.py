"""The behaviour of every place: each test runs on each implementation of ``Jobs``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from daskjob.core.errors import (
    Failed,
    InfrastructureFailure,
    NotFound,
    PolicyFailure,
    Timeout,
    UserFailure,
)
from daskjob.submit.jobs import JobEvent, Jobs, StillRunning
from tests.submit.places import (
    FAILED,
    RUNNING,
    SUCCEEDED,
    AnyPlace,
    Memory,
    ThisMachine,
    manifest,
)

STARTED = JobEvent(datetime(2026, 1, 1, tzinfo=UTC), "Normal", "Started", "attempt 0 started.")
ENDED = JobEvent(datetime(2026, 1, 2, tzinfo=UTC), "Warning", "Failed", "it failed.")
LOGS = {
    "sums-runner": b"first\n",
    "sums-runner-1": b"second\nlast\n",
    "sums-scheduler": b"Scheduler at: tcp://\n",
    "sums-default-worker-0": b"Start worker\n",
}


@pytest.fixture(params=["this machine", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyPlace]:
    if request.param == "memory":
        yield Memory()
        return
    with ExitStack() as held:
        yield ThisMachine(tmp_path, held)


@pytest.fixture
def jobs(place: AnyPlace) -> Jobs:
    return place.jobs


# Finding


def test_jobs_are_listed_newest_first_and_each_name_once(place: AnyPlace, jobs: Jobs) -> None:
    first = place.add(manifest(created="2026-01-01T00:00:00Z"))
    other = place.add(manifest("other", uid="bbbbbbbb-1", created="2026-01-02T00:00:00Z"))
    again = place.add(manifest(uid="cccccccc-1", created="2026-01-03T00:00:00Z"))
    assert [job.ref for job in jobs.list()] == [again, other, first]
    assert jobs.names() == ("sums", "other")
    assert jobs.find("sums").ref == again
    assert jobs.find("other", exact=True).ref == other
    assert jobs.find().ref == again


def test_empty_place_lists_nothing_and_has_a_message_for_it(jobs: Jobs) -> None:
    assert (jobs.list(), jobs.names()) == ((), ())
    assert jobs.place.empty.endswith(".")
    with pytest.raises(NotFound):
        jobs.find()


def test_unknown_name_is_not_found_and_the_message_lists_the_jobs(
    place: AnyPlace, jobs: Jobs
) -> None:
    place.add(manifest())
    with pytest.raises(NotFound, match=r"'nowhere'.*sums"):
        jobs.find("nowhere")


def test_job_has_its_manifest_and_its_status(place: AnyPlace, jobs: Jobs) -> None:
    ref = place.add(manifest(status=FAILED))
    job = jobs.get(ref)
    assert job.manifest == manifest(status=FAILED)
    assert (job.status.phase, job.status.exit_code) == ("Failed", 3)


@pytest.mark.parametrize(
    ("peak", "replicas", "others", "text"),
    [(4, 4, [], "4/4"), (3, 2, [], "3/3"), (0, 2, [3], "0/5"), (None, 2, [], "")],
)
def test_workers_of_an_ended_job_are_the_most_that_there_were(
    place: AnyPlace, jobs: Jobs, peak: int | None, replicas: int, others: list[int], text: str
) -> None:
    report = {} if peak is None else {"report": {"workers": {"peak": peak}}}
    job = manifest(status={**SUCCEEDED, **report})
    groups = [{"name": f"g{number}", "replicas": number} for number in others]
    job["spec"] = {"cluster": {"spec": {"worker": {"replicas": replicas}, "workerGroups": groups}}}
    assert jobs.get(place.add(job)).workers == text


# Reading


def test_events_are_in_the_order_in_which_they_happened(place: AnyPlace, jobs: Jobs) -> None:
    ref = place.add(manifest(), events=(STARTED, ENDED))
    assert jobs.events(ref) == (STARTED, ENDED)


@pytest.mark.parametrize(
    ("attempt", "pod", "text"),
    [
        (None, "scheduler", b"Scheduler at: tcp://\n"),
        (None, "worker", b"[worker-0] Start worker\n"),
        (None, "sums-runner-1", b"second\nlast\n"),
        (0, "", b"first\n"),
        (1, "", b"second\nlast\n"),
    ],
)
def test_log_is_that_of_an_attempt_or_of_a_pod(
    place: AnyPlace, jobs: Jobs, attempt: int | None, pod: str, text: bytes
) -> None:
    ref = place.add(manifest(status={**SUCCEEDED, "attempt": 1}), logs=LOGS)
    assert b"".join(c.data for c in jobs.logs(ref, attempt=attempt, pod=pod)) == text


@pytest.mark.parametrize(("tail", "text"), [(0, b""), (1, b"last\n"), (9, b"second\nlast\n")])
def test_tail_is_the_number_of_last_lines(
    place: AnyPlace, jobs: Jobs, tail: int, text: bytes
) -> None:
    ref = place.add(manifest(status={**SUCCEEDED, "attempt": 1}), logs=LOGS)
    assert b"".join(c.data for c in jobs.logs(ref, attempt=1, tail=tail)) == text


def test_missing_log_is_not_found_and_the_message_lists_the_logs(
    place: AnyPlace, jobs: Jobs
) -> None:
    ref = place.add(manifest(), logs={"sums-runner": b""})
    with pytest.raises(NotFound, match="logs of this job: sums-runner"):
        jobs.logs(ref, attempt=7)


def test_why_gives_the_next_step_in_the_commands_of_the_place(place: AnyPlace, jobs: Jobs) -> None:
    ref = place.add(manifest(status=FAILED))
    why = jobs.why(ref)
    assert why.headline == "sums failed (ExitCode): the runner exited with 3."
    assert why.next_step == jobs.place.next_steps["ExitCode"].format(name="sums")


def test_report_and_result_are_those_of_the_job_or_none(place: AnyPlace, jobs: Jobs) -> None:
    ref = place.add(manifest(), report={"tasks": {"done": 3}})
    assert jobs.report(ref) == {"tasks": {"done": 3}}
    assert jobs.result(ref) == {"total": 3}
    without = place.add(manifest("other", uid="bbbbbbbb-1", status=FAILED))
    assert (jobs.report(without), jobs.result(without)) == (None, None)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("ExitCode", UserFailure),
        ("RunnerLost", InfrastructureFailure),
        ("Cancelled", PolicyFailure),
    ],
)
def test_a_wait_raises_the_failure_of_the_job_unless_not_wanted(
    place: AnyPlace, jobs: Jobs, reason: str, kind: type[Failed]
) -> None:
    ref = place.add(manifest(status={**FAILED, "reason": reason}))
    with pytest.raises(kind) as caught:
        jobs.wait(ref)
    assert (caught.value.reason, caught.value.exit_code) == (reason, 3)
    assert jobs.wait(ref, raise_on_failure=False).status.reason == reason


# Changing


def test_running_job_is_cancelled_and_an_ended_one_is_not(place: AnyPlace, jobs: Jobs) -> None:
    running = place.add(manifest(status=RUNNING))
    ended = place.add(manifest("other", uid="bbbbbbbb-1"))
    assert jobs.cancel(running)
    assert not jobs.cancel(ended)


def test_wait_returns_an_ended_job_and_times_out_on_a_running_one(
    place: AnyPlace, jobs: Jobs
) -> None:
    ended = place.add(manifest("other", uid="bbbbbbbb-1"))
    assert jobs.wait(ended, timeout_seconds=0).status.succeeded
    running = place.add(manifest(status=RUNNING))
    with pytest.raises(Timeout, match="sums has not ended within 0 s"):
        jobs.wait(running, timeout_seconds=0)


def test_running_job_is_not_deleted(place: AnyPlace, jobs: Jobs) -> None:
    ref = place.add(manifest(status=RUNNING))
    with pytest.raises(StillRunning):
        jobs.delete(ref)
    assert jobs.get(ref).ref == ref


METHODS = [
    *("get", "wait", "logs", "events", "why", "report", "images", "result", "cancel", "delete"),
    *("suspend", "resume", "retry"),
]


@pytest.mark.parametrize("verb", METHODS)
def test_reference_to_a_deleted_job_never_refers_to_a_new_job_of_its_name(
    place: AnyPlace, jobs: Jobs, verb: str
) -> None:
    deleted = place.add(manifest())
    jobs.delete(deleted)
    place.add(manifest(uid="bbbbbbbb-1"))
    with pytest.raises(NotFound):
        getattr(jobs, verb)(deleted)
    assert len(jobs.list()) == 1
