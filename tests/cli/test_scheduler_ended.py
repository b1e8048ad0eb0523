"""A scheduler that is ended from outside, while a run needs it, is an infrastructure failure."""

from __future__ import annotations

import signal

import psutil
import pytest

from tests.cli.command import Daskjob, cmdline, finish
from tests.waiting import wait_until

BEGIN = """
import time
from distributed import Client

def slow(n):
    time.sleep(60)

if __name__ == "__main__":
    client = Client()
"""
#: What the script does with its client when the scheduler ends.
MOMENTS = {
    "waits": "futures = client.map(slow, range(4))\nprint('ready')\nclient.gather(futures)",
    "submits": "print('ready')\nwhile True:\n    client.submit(len, [1], pure=False).result()",
    "computes by itself": "print('ready')\ntime.sleep(60)",
    "handles errors": "print('ready')\nwhile True:\n    try:\n"
    "        client.submit(len, [1], pure=False).result()\n    except Exception as error:\n"
    "        raise RuntimeError('mine') from error",
}


def scheduler(daskjob: Daskjob) -> psutil.Process:
    """The scheduler's process of the only run."""
    (found,) = [
        process
        for process in daskjob.alive()
        if cmdline(process)[:2] == ["dask", "scheduler"]
        or any(word.endswith("scheduler_launcher.py") for word in cmdline(process))
    ]
    return found


@pytest.mark.parametrize(
    ("moment", "at_once"),
    [*((moment, False) for moment in MOMENTS), ("waits", True), ("submits", True)],
)
def test_a_run_whose_scheduler_got_a_sigterm_ends_with_121(
    daskjob: Daskjob, moment: str, at_once: bool
) -> None:
    text = BEGIN + "".join(f"    {line}\n" for line in MOMENTS[moment].splitlines())
    process = daskjob.start("run", "--workers", 1, daskjob.script(text))
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    if not at_once:
        # Before, only an error of the script shows that a restarted scheduler is another one.
        wait_until(lambda: daskjob.status().get("schedulerIdentity"))
    scheduler(daskjob).send_signal(signal.SIGTERM)
    done = finish(process)
    assert (done.code, daskjob.status()["reason"]) == (121, "SchedulerLost"), done.err
    assert "the scheduler ended with exit code 143 (SIGTERM)" in done.verdict
