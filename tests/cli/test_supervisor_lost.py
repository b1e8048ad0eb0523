"""A run whose supervisor is killed ends at once, with a verdict that names it (real processes)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from subprocess import Popen

import psutil
import pytest

from tests.cli.command import Daskjob, finish
from tests.waiting import wait_until

STAYS = """\
import os, signal, sys, time
if {deaf}:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("here", flush=True)
time.sleep(60)
"""


def supervisor_of(run: Popen[bytes]) -> int:
    """Return the pid of a run's supervisor: its only child."""
    found: list[int] = []

    def seen() -> bool:
        found[:] = [
            child.pid
            for child in psutil.Process(run.pid).children()
            if "supervisor_main.py" in " ".join(child.cmdline())
        ]
        return bool(found)

    wait_until(seen)
    return found[0]


def prints(daskjob: Daskjob, name: str) -> Callable[[], bool]:
    def printed() -> bool:
        logs = daskjob.state.glob(f"**/{name}*runner*.log")
        return any(b"here" in log.read_bytes() for log in logs)

    return printed


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("options", [(), ("--retries", "2"), ("--timeout", "30")])
def test_a_killed_supervisor_ends_the_run(
    daskjob: Daskjob, options: tuple[str, ...], *, waits: bool
) -> None:
    script = daskjob.script(STAYS.format(deaf=False))
    run = daskjob.start("run", "-w", 1, "--name", "lost", *options, script)
    supervisor = supervisor_of(run)
    if waits:
        wait_until(prints(daskjob, "lost"))
    os.kill(supervisor, signal.SIGKILL)
    done = finish(run)
    assert done.code == 121, done.err
    assert "the process that ran the job's processes was killed by SIGKILL" in done.verdict
    assert daskjob.status("lost")["reason"] == "RunnerLost"


@pytest.mark.parametrize("deaf", [False, True])
def test_a_supervisor_that_ends_by_sigterm_is_named(daskjob: Daskjob, *, deaf: bool) -> None:
    run = daskjob.start("run", "-w", 1, "--name", "ends", daskjob.script(STAYS.format(deaf=deaf)))
    wait_until(prints(daskjob, "ends"))
    os.kill(supervisor_of(run), signal.SIGTERM)
    done = finish(run)
    assert done.code == 121, done.err
    assert "it received SIGTERM" in done.verdict


def test_a_cancelled_run_that_loses_its_supervisor_was_cancelled(daskjob: Daskjob) -> None:
    text = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + STAYS.format(deaf=0)
    run = daskjob.start("run", "-w", 1, "--name", "both", daskjob.script(text))
    wait_until(prints(daskjob, "both"))
    run.send_signal(signal.SIGTERM)
    os.kill(supervisor_of(run), signal.SIGKILL)
    assert finish(run).code == 123
