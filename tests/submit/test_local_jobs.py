"""What is particular to jobs of this machine: folders, locks, logs that grow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from daskjob.backends.local.run_folder import RunFolder
from daskjob.core.manifests import Manifest
from daskjob.core.status import Progress
from daskjob.submit import local, local_logs
from daskjob.submit.jobs import Job, JobRef, LogChunk, StillRunning
from tests.submit.places import RUNNING, SUCCEEDED, ThisMachine, manifest


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThisMachine]:
    monkeypatch.setattr(local, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(local_logs, "FOLLOW_SECONDS", 0.01)
    with ExitStack() as held:
        yield ThisMachine(tmp_path, held)


def test_details_of_a_job_name_its_folder(machine: ThisMachine) -> None:
    ref = machine.add(manifest())
    assert machine.jobs.get(ref).details == (("Folder", str(machine.folder(ref).path)),)


SHUT_DOWN = {"type": "SchedulerReady", "status": "False", "reason": "ShutDown"}
NOW = Progress(total=160, done=112, processing=4, erred=0)


def test_progress_of_a_running_job_is_newer_than_its_status(machine: ThisMachine) -> None:
    ref = machine.add(manifest(status=RUNNING))
    assert machine.jobs.get(ref).status.progress is None
    machine.folder(ref).write_progress(0, NOW)
    assert machine.jobs.get(ref).status.progress == NOW
    assert machine.jobs.list()[0].status.progress == NOW
    machine.end(ref, {**SUCCEEDED, "progress": {"total": 160, "done": 160}})
    assert str(machine.jobs.get(ref).status.progress) == "160/160"


@pytest.mark.parametrize(
    ("attempt", "status", "spec"),
    [
        (1, {}, {}),
        (0, {"conditions": [SHUT_DOWN]}, {}),
        (0, {}, {"progress": {"intervalSeconds": 0}}),
    ],
)
def test_progress_is_not_that_of_another_attempt_nor_of_a_scheduler_that_counts_anew(
    machine: ThisMachine, attempt: int, status: Manifest, spec: Manifest
) -> None:
    ref = machine.add(manifest(status=RUNNING))
    folder = machine.folder(ref)
    folder.write_progress(attempt, NOW)
    folder.write_job({**manifest(status={**RUNNING, **status}), "spec": spec})
    assert machine.jobs.get(ref).status.progress is None


def test_workers_of_a_running_job_are_those_that_are_ready(machine: ThisMachine) -> None:
    ref = machine.add(manifest(status=RUNNING))
    status = {**RUNNING, "workers": {"desired": 4, "ready": 1}}
    machine.folder(ref).write_job(manifest(status=status))
    assert machine.jobs.get(ref).workers == "1/4"


def test_job_whose_run_was_killed_is_settled_when_it_is_read(machine: ThisMachine) -> None:
    ref = machine.add(manifest(status={**RUNNING}))
    assert machine.jobs.get(ref).status.reason == "RunnerLost"
    assert machine.jobs.wait(ref, raise_on_failure=False).status.finished
    assert not machine.jobs.cancel(ref)


@pytest.mark.parametrize("uid", ["", "dddddddd-copied-from-another"])
def test_job_that_was_copied_by_hand_is_found_by_its_folder(machine: ThisMachine, uid: str) -> None:
    path = machine.root / "copy.1"
    path.mkdir(parents=True)
    (path / "job.json").write_text(json.dumps(manifest("copy", uid=uid)))
    (job,) = machine.jobs.list()
    assert job.ref == JobRef("copy", "default", "1")
    assert machine.jobs.get(job.ref) == job
    machine.jobs.delete(job.ref)
    assert machine.jobs.list() == ()


def test_job_that_is_deleted_while_jobs_are_listed_is_left_out(
    machine: ThisMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = machine.add(manifest())
    deleted = machine.add(manifest("other", uid="bbbbbbbb-1"))
    read = local._job

    def read_slowly(folder: RunFolder) -> Job:
        if folder.name == "other":
            folder.remove()
        return read(folder)

    monkeypatch.setattr(local, "_job", read_slowly)
    assert [job.ref for job in machine.jobs.list()] == [kept]
    assert deleted.name not in machine.jobs.names()


def test_why_shows_the_end_of_the_runners_log(machine: ThisMachine) -> None:
    status = {**SUCCEEDED, "jobStatus": "Failed", "reason": "ExitCode", "message": "it failed."}
    ref = machine.add(manifest(status=status), logs={"sums-runner": b"x\nValueError: no data\n"})
    assert "log: ValueError: no data" in machine.jobs.why(ref).evidence


def test_forced_deletion_asks_the_run_to_cancel_and_gives_up_in_time(
    machine: ThisMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "DELETE_SECONDS", 0.05)
    ref = machine.add(manifest(status=RUNNING))
    with pytest.raises(StillRunning):
        machine.jobs.delete(ref, force=True)
    assert machine.folder(ref).cancel_file.exists()
    machine.end(ref)
    machine.jobs.delete(ref, force=True)
    assert machine.jobs.list() == ()


def test_log_is_followed_until_the_job_ends_and_nothing_is_lost_or_repeated(
    machine: ThisMachine,
) -> None:
    ref = machine.add(manifest(status=RUNNING), logs={"sums-runner": b"one\n"})
    log = machine.folder(ref).log("sums-runner")
    chunks = machine.jobs.logs(ref, follow=True)
    assert next(chunks).data == b"one\n"
    append(log, b"tw")
    assert next(chunks).data == b"tw"
    append(log, b"o\n")
    machine.end(ref)
    assert [chunk.data for chunk in chunks] == [b"o\n"]


def test_tail_of_a_followed_job_is_that_of_its_first_log(machine: ThisMachine) -> None:
    ref = machine.add(manifest(status=RUNNING), logs={"sums-runner": b"1\n2\n3\n"})
    chunks = machine.jobs.logs(ref, follow=True, tail=1)
    assert next(chunks).data == b"3\n"
    machine.folder(ref).log("sums-runner-1").write_bytes(b"4\n5\n6\n")
    ended = {"number": 0, "runnerPodName": "sums-runner", "reason": "ExitCode"}
    second = {**RUNNING, "attempt": 1, "attempts": [ended]}
    machine.folder(ref).write_job(manifest(status=second))
    assert next(chunks) == LogChunk("sums-runner-1", b"4\n5\n6\n")
    machine.end(ref, {**SUCCEEDED, "attempt": 1, "attempts": [ended]})
    assert list(chunks) == []


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
