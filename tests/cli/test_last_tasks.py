"""Tasks that run, or wait for a worker, when the script ends."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.cli.command import Daskjob, finish
from tests.waiting import wait_until

#: A task leaves a file when it begins, and another when it has ended.
HEAD = """\
import os, pathlib, sys, time
from distributed import Client, LocalCluster, fire_and_forget

place = pathlib.Path(os.environ["PLACE"])

def work(name, seconds=1.5):
    (place / f"{name} began").touch()
    time.sleep(seconds)
    print("the end of", name, flush=True)
    (place / f"{name} ended").touch()

def until(name):
    while not (place / f"{name} began").exists():
        time.sleep(0.01)

"""


def place(daskjob: Daskjob) -> Path:
    folder = daskjob.folder / "place"
    folder.mkdir()
    daskjob.variables["PLACE"] = str(folder)
    return folder


def seen(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


#: Ways to end a script with a client `c`, which has a cluster of its own or the run's.
ENDS = {
    "plain": ("c = Client()", ""),
    "with": ("c = Client().__enter__()", "c.__exit__(None, None, None)"),
    "closed": ("c = Client(n_workers=1, threads_per_worker=1)", "c.close()"),
    "shutdown": ("k = LocalCluster(n_workers=1, threads_per_worker=1); c = Client(k)", "k.close()"),
}


@pytest.mark.parametrize("end", ENDS)
def test_tasks_that_run_finish_and_fire_and_forget_holds_what_it_promises(
    daskjob: Daskjob, end: str
) -> None:
    """A LocalCluster loses the queued one, however the script ends."""
    begin, close = ENDS[end]
    text = f"{HEAD}{begin}\n" + (
        "fire_and_forget(c.submit(work, 'running'))\n"
        "until('running')\n"
        "fire_and_forget(c.submit(work, 'queued', 0.5))\n"
        "plain = c.submit(work, 'plain')\n"
        f"{close}\n"
    )
    folder = place(daskjob)
    done = daskjob("run", "-w", 1, "-t", 1, daskjob.script(text))
    assert done.code == 0, done.err
    wanted = {"running began", "running ended", "queued began", "queued ended"}
    assert seen(folder) == wanted
    assert "the end of running" in done.err
    assert "the end of queued" in done.err
    assert "the run waits for" in done.err
    assert "2 of 3 tasks done, 1 left undone" in done.err


@pytest.mark.parametrize(
    ("end", "code"), [("raise ValueError('no data')", 1), ("sys.exit(3)", 3), ("del plain", 0)]
)
def test_a_running_task_has_4_s_to_finish_whatever_the_end(
    daskjob: Daskjob, end: str, code: int
) -> None:
    text = f"{HEAD}c = Client()\nplain = c.submit(work, 'short')\nuntil('short')\n"
    text += f"later = c.submit(work, 'later')\n{end}\n"
    folder = place(daskjob)
    done = daskjob("run", "-w", 1, "-t", 1, daskjob.script(text))
    assert done.code == code, done.err
    assert seen(folder) == {"short began", "short ended"}
    # It has finished, although no client wanted it any more.
    assert "1 of 2 tasks done, 1 left undone" in done.err


def test_a_long_task_is_ended_after_4_s(daskjob: Daskjob) -> None:
    text = f"{HEAD}c = Client()\nplain = c.submit(work, 'long', 600)\nuntil('long')\nprint('end')\n"
    folder = place(daskjob)
    process = daskjob.start("run", "-w", 1, "-t", 1, daskjob.script(text))
    assert process.stdout is not None
    assert process.stdout.readline() == b"end\n"
    ended = time.monotonic()
    done = finish(process)
    assert done.code == 0
    assert 3 < time.monotonic() - ended < 20
    assert seen(folder) == {"long began"}
    assert "1 left undone" in done.err


@pytest.mark.parametrize("how", ["Ctrl-C", "cancel", "SIGTERM", "--timeout"])
def test_the_wait_for_promised_tasks_ends_at_once_when_the_run_must_end(
    daskjob: Daskjob, how: str
) -> None:
    text = f"{HEAD}c = Client()\nfire_and_forget(c.submit(work, 'long', 600))\nuntil('long')\n"
    place(daskjob)
    limit = ["--timeout", "12s"] if how == "--timeout" else []
    process = daskjob.start("run", *limit, "-w", 1, "--name", "slow", daskjob.script(text))
    assert process.stderr is not None
    while (
        how != "--timeout"
        and b"waits for 1 fire_and_forget task, 30s at most" not in process.stderr.readline()
    ):
        assert process.poll() is None
    asked = time.monotonic()
    if how == "Ctrl-C":
        process.send_signal(signal.SIGINT)
    elif how == "SIGTERM":
        process.send_signal(signal.SIGTERM)
    elif how == "cancel":
        daskjob("cancel", "slow")
    done = finish(process)
    assert time.monotonic() - asked < 28
    assert done.code == {"Ctrl-C": 123, "cancel": 123, "SIGTERM": 123, "--timeout": 122}[how]
    assert "1 fire_and_forget task was dropped" in done.err
    assert "succeeded" not in done.err


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_promised_tasks_of_a_lost_scheduler_are_no_success(
    daskjob: Daskjob, number: signal.Signals
) -> None:
    text = f"{HEAD}c = Client()\nfire_and_forget(c.submit(work, 'long', 600))\nuntil('long')\n"
    text += "c.run_on_scheduler(lambda: (place / 'pid').write_text(str(os.getpid())))\n"
    folder = place(daskjob)
    process = daskjob.start("run", "-w", 1, "--name", "lost", daskjob.script(text))
    assert process.stderr is not None
    while b"waits for 1 fire_and_forget task" not in process.stderr.readline():
        assert process.poll() is None
    os.kill(int((folder / "pid").read_text()), number)
    done = finish(process)
    assert done.code == 121, done.err
    assert "1 fire_and_forget task was dropped" in done.verdict


def test_a_cancelled_script_does_not_wait_for_its_tasks(daskjob: Daskjob) -> None:
    text = f"{HEAD}c = Client()\nplain = c.submit(work, 'long', 600)\nuntil('long')\n"
    text += "fire_and_forget(plain)\ntime.sleep(600)\n"
    folder = place(daskjob)
    process = daskjob.start("run", "-w", 1, daskjob.script(text))
    wait_until(lambda: "long began" in seen(folder))
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.code == 123
    assert "fire_and_forget" not in done.err
