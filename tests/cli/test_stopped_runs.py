"""What a run prints when it is stopped while tasks run."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.cli.command import Daskjob, finish
from tests.waiting import wait_until

#: Many tasks, and a file once they run.
WORKS = """\
import pathlib, time
from distributed import Client

def work(n):
    time.sleep(0.05)
    return n

if __name__ == "__main__":
    c = Client()
    tasks = c.map(work, range(5000))
    tasks[0].result()
    pathlib.Path("works").touch()
    c.gather(tasks)
"""


def started(daskjob: Daskjob) -> Path:
    path = daskjob.work / "works"
    wait_until(path.exists)
    return path


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "cancel"])
def test_workers_of_a_stopped_run_print_no_tracebacks(daskjob: Daskjob, how: str) -> None:
    script = daskjob.script(WORKS)
    run = daskjob.start("run", "-w", 2, "--name", "stops", script)
    started(daskjob)
    if how == "cancel":
        daskjob("cancel", "stops")
    else:
        run.send_signal(signal.SIGINT if how == "Ctrl-C" else signal.SIGTERM)
    done = finish(run)
    assert done.code == 123, done.err
    assert not [line for line in done.err.splitlines() if line.startswith("[worker-")]
