"""The commands about jobs work on any implementation of ``Jobs``: here, on one in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from daskjob.core.errors import Conflict, NotFound
from daskjob.core.manifests import Manifest
from daskjob.core.status import JobStatus, JobStatusWord
from daskjob.submit.cli import cli
from daskjob.submit.jobs import JobEvent, JobSnapshot
from daskjob.submit.terminal.live import View
from daskjob.submit.terminal.screen import Screen
from tests.submit.in_memory_jobs import InMemoryJobs
from tests.submit.places import FAILED, RUNNING, SUCCEEDED, manifest

STARTED = "2026-01-01T10:00:00Z"
REPORT: Manifest = {
    "tasks": {"done": 3, "total": 4, "erred": 1},
    "workers": {"peak": 2, "seen": 3, "lost": 1},
    "computeSeconds": 1.5,
}
EVENT = JobEvent(datetime(2026, 1, 1, 10, tzinfo=UTC), "Normal", "Started", "attempt 0 started.")
LOGS = {"sums-runner": b"one\ntwo\n\xff", "sums-scheduler": b"Scheduler at: tcp://\n"}

Daskjob = Callable[..., Result]


@pytest.fixture
def jobs() -> InMemoryJobs:
    """An ended job, a newer one that failed, and the newest, which is running."""
    place = InMemoryJobs()
    times = {"startTime": STARTED, "endTime": "2026-01-01T10:00:42Z"}
    attempts = [{"number": 0, "reason": "Completed", "endTime": STARTED}]
    done = {**SUCCEEDED, **times, "attempts": attempts, "progress": {"total": 4, "done": 3}}
    place.add(manifest(status=done), logs=LOGS, events=(EVENT,), report=REPORT)
    place.add(manifest("failing", uid="b", status=FAILED))
    place.add(manifest("busy", uid="c", status=RUNNING), logs={"busy-runner": b"ready\n"})
    return place


@pytest.fixture
def daskjob(jobs: InMemoryJobs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Daskjob:
    """The command line with that place; the state directory of this machine must stay unused."""
    state = tmp_path / "state"
    state.touch()
    monkeypatch.setenv("DASKJOB_STATE_DIR", str(state))

    def call(*words: str) -> Result:
        return CliRunner().invoke(cli, list(words), obj=jobs)

    return call


def test_list_shows_the_jobs_of_the_place(daskjob: Daskjob) -> None:
    lines = [line.split() for line in daskjob("list").stdout.splitlines()]
    assert lines[0][:3] == ["NAME", "STATUS", "REASON"]
    assert [line[:2] for line in lines[1:]] == [
        ["busy", "Running"],
        ["failing", "Failed"],
        ["sums", "Succeeded"],
    ]
    assert (lines[3][3], lines[3][-1]) == ("3/4", "42s")
    assert daskjob("list", "-o", "name").stdout.split() == [
        "daskjob/busy",
        "daskjob/failing",
        "daskjob/sums",
    ]


def test_list_of_an_empty_place_prints_its_message(daskjob: Daskjob, jobs: InMemoryJobs) -> None:
    jobs.held.clear()
    done = daskjob("list")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "No job in memory.\n")


def test_status_shows_the_details_and_the_events_of_the_place(daskjob: Daskjob) -> None:
    text = daskjob("status", "sums").stdout
    for line in ("Name:       sums\n", "Shelf:      7\n", 'Result:     {"total": 3}\n'):
        assert line in text
    assert "Started: attempt 0 started." in text
    assert daskjob("status").stdout.startswith("Name:       busy\n")
    found = json.loads(daskjob("status", "-o", "json", "sums").stdout)
    assert found["metadata"]["uid"] == "aaaaaaaa-1"


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (("sums",), LOGS["sums-runner"]),
        (("sums", "--tail", "1"), b"\xff"),
        (("sums", "--pod", "scheduler"), LOGS["sums-scheduler"]),
        (("-f", "sums"), LOGS["sums-runner"]),
        ((), b"ready\n"),
    ],
)
def test_logs_are_printed_byte_by_byte(
    daskjob: Daskjob, words: tuple[str, ...], printed: bytes
) -> None:
    assert daskjob("logs", *words).stdout_bytes == printed


def test_why_gives_the_next_step_of_the_place(daskjob: Daskjob, tmp_path: Path) -> None:
    text = "failing failed (ExitCode): the runner exited with 3.\nNext: Ask memory about failing.\n"
    assert daskjob("why", "failing").stdout == text
    saved = tmp_path / "saved.json"
    saved.write_text(daskjob("status", "-o", "json", "failing").stdout)
    assert daskjob("why", str(saved)).stdout == (
        "failing failed (ExitCode): the runner exited with 3.\n"
        "Next: Read its log:\n  daskjob logs -n default failing\n"
    )


def test_report_is_that_of_the_place(daskjob: Daskjob) -> None:
    text = daskjob("report", "sums").stdout
    assert text.startswith("sums: Succeeded in 42s, attempt 0\n")
    assert "3 of 4 done, 1 erred, 1.5 s of compute time" in text
    assert json.loads(daskjob("report", "-o", "json", "sums").stdout) == REPORT
    missing = daskjob("report", "busy").exception
    assert str(missing) == "busy has no report yet; it is written when an attempt ends"


def test_html_report_has_no_secret_argument(daskjob: Daskjob, jobs: InMemoryJobs) -> None:
    secret = manifest("secret", uid="e", status=FAILED)
    container = {"name": "job", "image": "i", "args": ["python", "x.py", "--password", "hunter2"]}
    secret["spec"] = {"job": {"spec": {"containers": [container]}}}
    jobs.add(secret)
    page = daskjob("report", "--html", "-", "secret").stdout
    assert "--password" in page
    assert "hunter2" not in page


def test_cancel_stops_running_jobs_and_reports_how_the_others_ended(
    daskjob: Daskjob, jobs: InMemoryJobs
) -> None:
    done = daskjob("cancel", "--wait", "busy", "failing")
    assert done.stdout == "busy is being cancelled\nfailing has already ended: Failed\n"
    assert [held.job.name for held in jobs.held if held.cancelled] == ["busy"]


def test_cancel_takes_each_named_job_that_is_there_and_reports_each_other_one(
    daskjob: Daskjob, jobs: InMemoryJobs
) -> None:
    done = daskjob("cancel", "nope", "busy", "busy", "never")
    assert done.stdout == "busy is being cancelled\n"
    assert [held.job.name for held in jobs.held if held.cancelled] == ["busy"]
    assert isinstance(done.exception, NotFound)
    assert "never" in str(done.exception)
    [missing] = done.stderr.splitlines()
    assert "nope" in missing


def test_cancel_without_a_name_takes_the_newest_running_job(
    daskjob: Daskjob, jobs: InMemoryJobs
) -> None:
    jobs.add(manifest("late", uid="d", status=FAILED))
    assert daskjob("cancel").stdout == "busy is being cancelled\n"
    assert daskjob("cancel", "late").stdout == "late has already ended: Failed\n"
    jobs.held = [held for held in jobs.held if held.job.name != "busy"]
    done = daskjob("cancel")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "no job is running; the newest is late: Failed\n"
    jobs.held.clear()
    assert isinstance(daskjob("cancel").exception, NotFound)


@pytest.mark.parametrize(
    ("words", "code", "printed"),
    [
        (("sums",), 0, ["sums has ended: Succeeded"]),
        (("failing",), 3, ["failing has ended: Failed"]),
        (
            ("sums", "failing", "sums"),
            3,
            ["sums has ended: Succeeded", "failing has ended: Failed"],
        ),
        (("--timeout", "1", "busy"), 124, []),
        (("--timeout", "1"), 124, []),
    ],
)
def test_wait_has_the_exit_code_of_the_first_job_that_failed(
    jobs: InMemoryJobs, words: tuple[str, ...], code: int, printed: list[str]
) -> None:
    done = CliRunner().invoke(cli, ["wait", *words], obj=jobs, standalone_mode=False)
    assert done.return_value == code
    assert done.stdout.splitlines()[: len(printed)] == printed
    assert (code == 124) is ("busy has not ended within 1 s" in done.stderr)


def test_delete_reports_which_of_several_runs_it_took(daskjob: Daskjob, jobs: InMemoryJobs) -> None:
    for uid in ("d", "e"):
        jobs.add(manifest("sums", uid=uid, status=FAILED))
    assert daskjob("delete", "sums").stdout == (
        "sums deleted: the newest run of this name; older ones: 2\n"
    )
    assert [job.ref.uid for job in jobs.list() if job.name == "sums"] == ["d", "aaaaaaaa-1"]
    assert daskjob("delete").exit_code == 2


@pytest.mark.parametrize(
    ("limit", "shown"), [((), 50), (("--limit", "2"), 2), (("--limit", "0"), 63)]
)
def test_list_shows_the_newest_jobs_up_to_a_limit_and_reports_it(
    daskjob: Daskjob, jobs: InMemoryJobs, limit: tuple[str, ...], shown: int
) -> None:
    for number in range(60):
        jobs.add(manifest(f"job-{number:02}", uid=f"u{number}"))
    done = daskjob("list", *limit)
    lines = done.stdout.splitlines()[1:]
    assert (len(lines), lines[0].split()[0]) == (shown, "job-59")
    assert done.stderr == ("" if shown == 63 else f"{shown} of 63 jobs; all of them: --limit 0\n")
    assert len(daskjob("list", "-o", "name").stdout.splitlines()) == 63
    if limit:
        assert len(daskjob("list", "-o", "name", *limit).stdout.splitlines()) == shown


def test_delete_skips_running_jobs_unless_forced(daskjob: Daskjob, jobs: InMemoryJobs) -> None:
    rejected = daskjob("delete", "busy").exception
    assert isinstance(rejected, Conflict)
    assert str(rejected) == "busy is still running; cancel it first, or use --force"
    done = daskjob("delete", "--all")
    assert done.stdout == "failing deleted\nsums deleted\n"
    assert done.stderr == "busy is still running, and stays; --force cancels running jobs first\n"
    assert daskjob("delete", "--force", "busy").stdout == "busy deleted\n"
    assert jobs.list() == ()
    assert daskjob("delete", "--all").stderr == f"{jobs.place.empty}\n"


def test_delete_takes_each_named_job_that_it_can_and_reports_each_other_one(
    daskjob: Daskjob, jobs: InMemoryJobs
) -> None:
    done = daskjob("delete", "nope", "busy", "sums", "sums", "failing")
    assert done.stdout == "sums deleted\nfailing deleted\n"
    assert isinstance(done.exception, Conflict)
    assert str(done.exception) == "busy is still running; cancel it first, or use --force"
    [missing] = done.stderr.splitlines()
    assert missing.startswith("daskjob: ")
    assert "nope" in missing
    assert [job.name for job in jobs.list()] == ["busy"]


@pytest.mark.parametrize(
    ("command", "suspended", "named"),
    [("suspend", (), "busy"), ("suspend", ("busy",), "late"), ("resume", ("busy",), "busy")],
)
def test_suspend_and_resume_without_a_name_take_the_newest_job_that_they_can_change(
    daskjob: Daskjob, jobs: InMemoryJobs, command: str, suspended: tuple[str, ...], named: str
) -> None:
    paused = [{"type": "Suspended", "status": "True", "reason": "s", "message": "m"}]
    jobs.held = [held for held in jobs.held if held.job.name != "busy"]
    for name in ("late", "busy"):
        conditions = {"conditions": paused} if name in suspended else {}
        status = {"jobStatus": "Running", "phase": "Running", **conditions}
        jobs.add(manifest(name, uid=name, status=status))
    jobs.add(manifest("latest", uid="e", status=FAILED))
    doing = f"{named} is being {command}{'ed' if command == 'suspend' else 'd'}"
    assert daskjob(command).stdout == f"{doing}\n"


def test_diff_without_names_names_the_choices(daskjob: Daskjob) -> None:
    done = daskjob("diff")
    assert done.exit_code == 2
    assert "name two jobs, or one job and two attempts: --attempts 0 1" in done.stderr


def test_job_that_is_named_twice_is_deleted_once(daskjob: Daskjob) -> None:
    done = daskjob("delete", "sums", "sums", "failing")
    assert done.stdout == "sums deleted\nfailing deleted\n"


@pytest.mark.parametrize(
    ("words", "printed", "spec"),
    [
        (("suspend", "busy"), "busy is being suspended\n", {"suspend": True}),
        (("resume", "busy"), "busy is being resumed\n", {"suspend": False}),
        (
            ("scale", "-w", "7"),
            "busy is being scaled to 7 workers\n",
            {"cluster": {"spec": {"worker": {"replicas": 7}}}},
        ),
    ],
)
def test_job_is_changed_at_its_place(
    daskjob: Daskjob, jobs: InMemoryJobs, words: tuple[str, ...], printed: str, spec: Manifest
) -> None:
    assert daskjob(*words).stdout == printed
    changed = jobs.find("busy").manifest["spec"]
    assert {key: changed[key] for key in spec} == spec


def test_retry_prints_the_name_of_the_new_job(daskjob: Daskjob) -> None:
    assert daskjob("retry", "failing").stdout == "failing runs again as failing-again\n"


def test_events_are_a_table_or_objects(daskjob: Daskjob) -> None:
    header, line = daskjob("events", "sums").stdout.splitlines()
    assert header.split() == ["AGE", "TYPE", "REASON", "MESSAGE"]
    assert line.split()[1:] == ["Normal", "Started", "attempt", "0", "started."]
    (event,) = json.loads(daskjob("events", "-o", "json", "sums").stdout)["events"]
    assert (event["time"], event["reason"]) == ("2026-01-01T10:00:00+00:00", "Started")
    assert daskjob("events", "busy").stderr == "busy has no events.\n"


@pytest.mark.parametrize(
    ("name", "code", "printed"),
    [("sums", 0, LOGS["sums-runner"]), ("failing", 3, b""), ("daskjob/failing", 3, b"")],
)
def test_attach_prints_the_log_and_returns_the_exit_code(
    jobs: InMemoryJobs, name: str, code: int, printed: bytes
) -> None:
    done = CliRunner().invoke(cli, ["attach", name], obj=jobs, standalone_mode=False)
    assert (done.return_value, done.stdout_bytes) == (code, printed)


def test_all_namespaces_and_one_are_wrong_usage(daskjob: Daskjob) -> None:
    done = daskjob("list", "-A", "-n", "team")
    assert done.exit_code == 2
    assert "leave one of them out" in done.stderr


CHANGES = ["suspend", "resume", "retry", "events", "attach"]


@pytest.mark.parametrize(
    "command", ["status", "logs", "why", "report", "cancel", "delete", *CHANGES]
)
def test_unknown_name_is_the_places_error(daskjob: Daskjob, command: str) -> None:
    error = daskjob(command, "nowhere").exception
    assert isinstance(error, NotFound)
    assert str(error) == "memory holds no job 'nowhere'; it holds busy, failing, sums"


def test_completion_offers_the_names_of_the_place(jobs: InMemoryJobs) -> None:
    complete = ShellComplete(cli, {"obj": jobs}, "daskjob", "_DASKJOB_COMPLETE")
    assert [item.value for item in complete.get_completions(["logs"], "")] == [
        "busy",
        "failing",
        "sums",
    ]
    assert [item.value for item in complete.get_completions(["delete", "busy"], "f")] == ["failing"]


class Scripted:
    """A job whose snapshots are scripted: all that a screen needs from a place."""

    def __init__(self) -> None:
        self.seen = JobSnapshot("sums", JobStatus(), desired_workers=2, ready_workers=1)

    def snapshot(self) -> JobSnapshot:
        return self.seen


def test_screen_needs_snapshots_only(capfd: pytest.CaptureFixture[str]) -> None:
    job = Scripted()
    view = View(job, Screen(), quiet=False)
    view.begin(["a note"])
    view.update()
    failed = JobStatus(job_status=JobStatusWord.FAILED, reason="ExitCode", message="it failed.")
    job.seen = replace(job.seen, status=failed, troubles=("the disk is full",))
    view.end()
    out, err = capfd.readouterr()
    assert not out
    assert err.startswith("daskjob: a note\ndaskjob: the disk is full\ndaskjob: sums failed in ")
    assert err.endswith(
        "(ExitCode): it failed.\ndaskjob: for details: daskjob why sums, daskjob logs sums\n"
    )
