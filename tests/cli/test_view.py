"""What a run reports at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from daskjob.core.manifests import Manifest
from daskjob.core.status import JobStatus, JobStatusWord, job_status_from
from daskjob.submit.jobs import JobSnapshot
from daskjob.submit.local_run import Stream
from daskjob.submit.terminal.live import View
from daskjob.submit.terminal.screen import Screen


class EndedJob:
    """A job with one worker that has succeeded, with this report."""

    def __init__(self, report: Manifest | None, script: str = "") -> None:
        self._status = JobStatus(job_status=JobStatusWord.SUCCESSFUL, report=report)
        self._script = script

    def snapshot(self) -> JobSnapshot:
        return JobSnapshot(
            "sums", self._status, desired_workers=1, ready_workers=0, script=self._script
        )


@pytest.mark.parametrize(
    ("report", "is_reported"), [({"tasks": {"total": 0}}, True), (None, False)]
)
def test_that_no_task_ran_is_reported_only_where_it_is_known(
    report: Manifest | None, is_reported: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    View(EndedJob(report), Screen(), quiet=False).end()
    text = capfd.readouterr().err
    assert "sums succeeded" in text
    assert ("ran no tasks" in text) is is_reported


class AttachedJob:
    """A job on a cluster, as a command that comes later finds it."""

    def __init__(self, **status: object) -> None:
        attempt = {"number": 0, "reason": "Suspended", "message": "the job was suspended"}
        self._status = job_status_from({"attempts": [attempt], "attempt": 1, **status})

    def snapshot(self) -> JobSnapshot:
        return JobSnapshot("sums", self._status, 1, 1, options="-n team")


def test_suspended_job_is_no_failed_one_and_is_resumed_by_a_command(
    capfd: pytest.CaptureFixture[str],
) -> None:
    suspended = [{"type": "Suspended", "status": "True"}]
    View(AttachedJob(conditions=suspended, attempt=0), Screen(), quiet=False).update()
    text = capfd.readouterr().err
    assert "sums is suspended; it continues with: daskjob resume -n team sums" in text
    assert "failed" not in text


def test_attempts_are_reported_in_their_order(capfd: pytest.CaptureFixture[str]) -> None:
    resumed = AttachedJob(jobStatus="Running", schedulerIdentity="Scheduler-1")
    View(resumed, Screen(), quiet=False).update()
    first, second = capfd.readouterr().err.splitlines()[:2]
    assert first == "daskjob: attempt 0 was suspended"
    assert second.startswith("daskjob: sums (attempt 1) is running with 1 worker")


@pytest.mark.parametrize(
    ("clients", "script", "hint"),
    [
        (1, "client = Client()", "its client is connected"),
        (0, "with LocalCluster(n_workers=3) as cluster:\n    pass", "made a cluster of its own"),
        (0, "# as with LocalCluster()\nprint(1)", "to use them, connect with"),
        (0, None, "to use them, connect with"),
    ],
)
def test_the_hint_to_a_script_that_ran_no_task(
    clients: int,
    script: str | None,
    hint: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "script.py"
    if script is not None:
        path.write_text(script)
    report = {"tasks": {"total": 0}, "clients": clients}
    View(EndedJob(report, str(path)), Screen(), quiet=False).end()
    assert hint in capfd.readouterr().err


@pytest.mark.parametrize(
    ("report", "text"),
    [
        ({"tasks": {"total": 4, "done": 4}}, "succeeded in 0s: 4 tasks"),
        ({"tasks": {"total": 1, "done": 1}}, "succeeded in 0s: 1 task"),
        (
            {"tasks": {"total": 4, "done": 1, "erred": 1}},
            "1 of 4 tasks done, 1 erred, 2 left undone",
        ),
        ({"tasks": {"total": 0, "done": 0, "dropped": 3}}, "0 of 3 tasks done, 3 left undone"),
        ({"tasks": {"total": 2, "done": 2}, "workers": {"lost": 1}}, "2 tasks, 1 worker was lost"),
        (
            {
                "tasks": {"total": 2, "done": 2},
                "peakMemory": {"rows": [["a", 2**20], ["b", 2**30]]},
            },
            "2 tasks, peak worker memory 1 GiB",
        ),
        (
            {
                "tasks": {"total": 2, "done": 2},
                "peakMemory": {"rows": [["a", 2**20]], "atLeast": 300 * 2**20},
            },
            "2 tasks, peak worker memory ≥ 300 MiB",
        ),
        (
            {"tasks": {"total": "x"}, "peakMemory": {"rows": [[], 1]}, "workers": 7},
            "succeeded in 0s",
        ),
    ],
)
def test_the_last_line_counts_the_work(
    report: Manifest, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    View(EndedJob(report), Screen(), quiet=False).end()
    assert text in capfd.readouterr().err


def test_a_message_waits_for_the_end_of_the_scripts_line(capfd: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.write(Stream.ERR, b"half a ")
    screen.say("first")
    screen.write(Stream.ERR, b"line\nopen ")
    screen.say("second")
    assert capfd.readouterr().err == "half a line\nfirst\nopen "
    screen.say("now", urgent=True)
    screen.hide()
    assert capfd.readouterr().err == "\nsecond\nnow\n"
