"""What a run reports when its script starts: before its first output, and true at that moment."""

from __future__ import annotations

import subprocess

import pytest

from tests.cli.command import Daskjob, finish
from tests.cli.terminal import terminal

FIRST = {
    "standard output": "print('first', flush=True)",
    "standard error": "import sys; print('first', file=sys.stderr)",
    "bytes": "import os; os.write(1, b'first\\xff\\n')",
    "no newline": "import os; os.write(2, b'first'); os.write(1, b'\\n')",
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("case", FIRST)
def test_the_first_line_is_that_of_the_run(case: str, workers: int, user: Daskjob) -> None:
    script = user.script(FIRST[case], "first.py")
    process = user.start("run", "-w", workers, "--name", "first", script, stderr=subprocess.STDOUT)
    done = finish(process)
    head, _, rest = done.out.partition(b"\n")
    does = b"is starting 2 workers" if workers else b"is running with 0 workers"
    assert head.startswith(b"daskjob: first " + does + b", dashboard http://127.0.0.1:")
    assert rest.startswith(b"first")
    assert done.out.count(b"dashboard") == 1


def test_each_attempt_has_its_line_before_its_output(user: Daskjob) -> None:
    text = "import os, sys\nprint('attempt', os.environ['DASKJOB_ATTEMPT'])\nsys.exit(3)\n"
    words = ["run", "-w", 0, "--retries", 1, "--name", "twice", user.script(text, "twice.py")]
    done = finish(user.start(*words, stderr=subprocess.STDOUT))
    kept = [line for line in done.out.decode().splitlines() if "failed" not in line]
    assert kept[1] == "attempt 0"
    assert kept[2].startswith("daskjob: twice (attempt 1) is running with 0 workers")
    assert kept[3] == "attempt 1"


def test_a_script_that_runs_is_not_shown_as_starting(daskjob: Daskjob) -> None:
    """Its workers never come: they cannot import a module of their preload."""
    text = "print('first', flush=True)\ninput()\n"
    more = {"DASK_DISTRIBUTED__WORKER__PRELOAD": '["no_such_module"]'}
    daskjob.variables.update(more)
    with terminal(daskjob, "run", "-w", 1, daskjob.script(text)) as screen:
        screen.wait_for(b"first")
        assert "0/1 workers" in screen.wait_for_row("Running")
        screen.press(b"\n")
        assert screen.end() == 0
