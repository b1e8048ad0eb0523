"""``daskjob status --watch``: lines in a pipe, a view that is drawn again on a terminal."""

from __future__ import annotations

import json

import pytest

from tests.cli.command import Daskjob, finish
from tests.cli.terminal import terminal

#: Runs until the file ``go`` exists, in its second attempt.
FAILS_ONCE = """\
import os, pathlib, sys, time
if os.environ["DASKJOB_ATTEMPT"] == "0":
    sys.exit(3)
while not pathlib.Path("go").exists():
    time.sleep(0.05)
"""


def test_changes_are_lines_in_a_pipe_and_one_view_on_a_terminal(daskjob: Daskjob) -> None:
    script = daskjob.script(FAILS_ONCE, "fails_once.py")
    run = daskjob.start("run", "-w", 0, "--name", "watched", "--retries", 1, script)
    assert run.stderr is not None
    while b"attempt 0 failed" not in run.stderr.readline():
        pass
    piped = daskjob.start("status", "--watch", "watched")
    documents = daskjob.start("status", "-w", "-o", "json", "watched")
    assert piped.stdout is not None
    header = piped.stdout.readline().split()
    assert header[:3] == [b"NAME", b"STATUS", b"REASON"]
    lines = [piped.stdout.readline()]
    while b"Running" not in lines[-1]:
        lines.append(piped.stdout.readline())
    daskjob.variables["COLUMNS"] = "80"  # That of another terminal.
    with terminal(daskjob, "status", "-w", "watched", columns=60) as screen:
        assert screen.wait_for_row("Status:").split()[1] == "Running"
        took = screen.wait_for_row("Took:")
        while screen.wait_for_row("Took:") == took:
            pass
        assert len([row for row in screen.all_rows() if row.startswith("Name:")]) == 1
        screen.resize(40)
        while screen.wait_for_row("Took:") == took:
            pass
        (daskjob.work / "go").touch()
        assert screen.end() == 0
        rows = screen.all_rows()
        assert [row for row in rows if row.startswith("Status:")] == ["Status:     Succeeded"]
        assert "Events:" in rows
    assert finish(run).code == 0
    done = finish(piped)
    assert done.code == 0
    last = done.text.splitlines()[-1].split()
    assert last[:3] == ["watched", "Succeeded", "Completed"]
    assert done.text.count("Succeeded") == 1
    decoder, text, seen = json.JSONDecoder(), finish(documents).text, []
    while text.strip():
        found, end = decoder.raw_decode(text.strip())
        seen.append(found["status"]["phase"])
        text = text.strip()[end:]
    assert seen[-1] == "Succeeded"
    assert "Running" in seen


def test_ended_job_is_shown_once(daskjob: Daskjob) -> None:
    script = daskjob.script("raise SystemExit(5)")
    assert daskjob.run("--name", "five", script).code == 5
    done = daskjob("status", "--watch", "five")
    assert (done.code, len(done.text.splitlines())) == (0, 2)
    assert "Failed" in done.text
    done = daskjob("status", "--watch", "-o", "name", "five")
    assert (done.code, done.text) == (0, "daskjob/five\n")


@pytest.mark.parametrize("words", [("--follow",), ("-f",)])
def test_follow_is_explained(daskjob: Daskjob, words: tuple[str, ...]) -> None:
    done = daskjob("status", *words)
    assert done.code == 2
    assert "each change is --watch" in done.err


def test_ctrl_c_leaves_the_job_alone(daskjob: Daskjob) -> None:
    script = daskjob.script(
        "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.05)"
    )
    run = daskjob.start("run", "-w", 0, "--name", "left", script)
    assert run.stderr is not None
    run.stderr.readline()
    with terminal(daskjob, "status", "--watch", "left") as screen:
        screen.wait_for_row("Name:")
        screen.press(b"\x03")
        assert screen.end() == 130
    (daskjob.work / "go").touch()
    assert finish(run).code == 0
