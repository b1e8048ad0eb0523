"""``daskjob attach`` on a terminal: the live line of ``daskjob run``, below the job's output."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from daskjob.submit.jobs import Job, JobRef
from daskjob.submit.terminal.following import _Seen
from daskjob.submit.terminal.live import View
from tests.cli.command import PATIENCE_SECONDS, Daskjob, finish
from tests.cli.terminal import Terminal, terminal
from tests.waiting import wait_until

#: Prints in ways that a line below could garble, and waits for the file ``go`` in between.
TALKS = """\
import pathlib, time
from distributed import Client
with Client() as client:
    tasks = client.map(lambda n: n, range(7))
    client.gather(tasks)
    print("ready", flush=True)
    print("an open line", end="", flush=True)
    while not pathlib.Path("go").exists():
        time.sleep(0.05)
    print(", and its end")
    print("\\x1b[32mgreen\\x1b[0m")
    print("last", end="", flush=True)
"""


@contextmanager
def attached(daskjob: Daskjob, columns: int = 100, shell: str = "") -> Iterator[Terminal]:
    script = daskjob.script(TALKS, "talks.py")
    run = daskjob.start("run", "--workers", 1, "--name", "talks", script)
    assert run.stdout is not None
    assert run.stdout.readline() == b"ready\n"
    with terminal(daskjob, "attach", "talks", columns=columns, shell=shell) as screen:
        yield screen
        (daskjob.work / "go").touch()
        if not shell:
            assert screen.end() == 0
    assert finish(run).code == 0


@pytest.mark.parametrize("columns", [100, 40])
def test_live_line_is_below_the_output_which_is_unchanged(daskjob: Daskjob, columns: int) -> None:
    with attached(daskjob, columns) as screen:
        row = screen.wait_for_row("Running")
        assert "7/7" in screen.wait_for_row("7/7")
        assert screen.rows().index("an open line") < len(screen.rows()) - 1
        assert len(row) < columns
    rows = screen.all_rows()
    for text in ("ready", "an open line, and its end", "green", "last"):
        assert rows.count(text) == 1, rows
    assert not [row for row in rows if "Running" in row or "7/7" in row]
    assert any(row.startswith("daskjob: talks succeeded in") for row in rows)


def test_ctrl_z_gives_the_terminal_back_and_the_line_returns(daskjob: Daskjob) -> None:
    with attached(daskjob) as screen:
        screen.wait_for_row("7/7")
        os.kill(screen.pid, signal.SIGTSTP)

        def stopped() -> bool:
            screen.read()
            with open(f"/proc/{screen.pid}/stat") as stat:
                return stat.read().rpartition(")")[2].split()[0] == "T"

        wait_until(stopped, PATIENCE_SECONDS)
        screen.read_for(0.2)
        assert not [row for row in screen.rows() if "7/7" in row]
        os.kill(screen.pid, signal.SIGCONT)
        screen.wait_for_row("7/7")


def test_second_ctrl_c_leaves_no_line_behind(daskjob: Daskjob) -> None:
    script = daskjob.script(
        "import pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True)\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.05)\n"
    )
    run = daskjob.start("run", "--workers", 0, "--name", "stays", script)
    assert run.stdout is not None
    assert run.stdout.readline() == b"ready\n"
    with terminal(daskjob, "attach", "stays") as screen:
        screen.wait_for_row("Running")
        screen.press(b"\x03")
        screen.wait_for_row("Ctrl-C: cancelling the job")
        screen.press(b"\x03")
        assert screen.end() == 123
        rows = screen.rows()
    (daskjob.work / "go").touch()
    finish(run)
    assert rows[-1].startswith("daskjob: stays is being cancelled")
    assert not [row for row in rows if row.startswith(("stays ", "Cancelled", "Running"))]


def test_ctrl_backslash_leaves_the_run_and_no_line_behind(daskjob: Daskjob) -> None:
    script = daskjob.script(TALKS, "talks.py")
    run = daskjob.start("run", "--workers", 1, "--name", "talks", script)
    assert run.stdout is not None
    assert run.stdout.readline() == b"ready\n"
    with terminal(daskjob, "attach", "talks") as screen:
        screen.wait_for_row("following talks (Ctrl-C cancels it, Ctrl-\\ leaves it running)")
        screen.wait_for_row("7/7")
        screen.press(b"\x1c")
        assert screen.end() == 124
        assert "daskjob: talks continues: daskjob attach talks" in screen.rows()
        assert not [row for row in screen.rows() if "7/7" in row]
    (daskjob.work / "go").touch()
    assert finish(run).code == 0


def test_pipe_has_no_line(daskjob: Daskjob) -> None:
    shell = f'{sys.executable} -m daskjob attach talks | cat; echo "piped ${{PIPESTATUS[0]}}"'
    with attached(daskjob, shell=shell) as screen:
        screen.wait_for_row("an open line")
        screen.read_for(1.5)
        (daskjob.work / "go").touch()
        screen.wait_for_row("piped 0")
        assert b"7/7" not in screen.seen
        assert b"\x1b[K" not in screen.seen


class _Screen:
    """Keeps what would be drawn."""

    has_live_line = True

    def __init__(self) -> None:
        self.line = ""

    def show(self, line: object) -> None:
        self.line = "".join(text for text, _ in line(120))  # type: ignore[operator]

    def say(self, line: str, style: str = "", *, urgent: bool = False, wrap: bool = False) -> None:
        pass

    def hide(self) -> None:
        pass

    def end_line(self) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ({}, "sums Pending 0s 3/… workers"),
        ({"phase": "Pending", "reason": "Unschedulable"}, "sums Pending (Unschedulable) "),
        ({"phase": "Starting", "reason": "ImagePull"}, "sums Starting (ImagePull) "),
        ({"phase": "Running", "reason": "Whatever"}, "sums Running "),
        ({"phase": "Running", "startTime": "NOW-90"}, "sums Running 90s"),
    ],
)
def test_line_shows_what_a_pending_job_waits_for(status: dict[str, str], text: str) -> None:
    if "startTime" in status:
        ago = datetime.now(UTC) - timedelta(seconds=90)
        status = {**status, "startTime": f"{ago:%Y-%m-%dT%H:%M:%SZ}"}
    ref, screen = JobRef("sums", "team", "u"), _Screen()
    seen = _Seen(ref, "-n team")
    seen.job = Job(ref, {"status": {"workers": {"desired": 4, "ready": 3}, **status}})
    View(seen, screen, quiet=False).update()
    assert screen.line.startswith(text.partition(" 3/")[0])
    assert "3/4 workers" in screen.line
