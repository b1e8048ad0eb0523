"""``daskjob attach`` to real runs: what ends the run, and what only ends the command."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cli.command import PATIENCE_SECONDS, Daskjob, Done, finish

#: Runs until the file ``go`` exists.
WAITS = """\
import pathlib, sys, time
print("ready", flush=True)
while not pathlib.Path("go").exists():
    time.sleep(0.05)
print("done")
sys.exit(7)
"""


@contextmanager
def attached(
    daskjob: Daskjob, *words: object
) -> Iterator[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """A run, and a command attached to it that has printed the first line, if it has the time."""
    run = daskjob.start("run", "--workers", 0, "--name", "waits", daskjob.script(WAITS))
    assert run.stdout is not None
    assert run.stdout.readline() == b"ready\n"
    command = daskjob.start("attach", *words, "waits")
    try:
        assert command.stdout is not None
        assert command.stdout.readline() == b"ready\n" or "--timeout" in words
        yield run, command
    finally:
        command.kill()
        command.wait()
        (daskjob.work / "go").touch()
        run.wait(PATIENCE_SECONDS)
        for stream in (command.stdout, command.stderr, run.stdout, run.stderr):
            assert stream is not None
            stream.close()


def go(daskjob: Daskjob, run: subprocess.Popen[bytes]) -> Done:
    (daskjob.work / "go").touch()
    return finish(run)


def test_attach_ends_with_the_exit_code_of_the_run(daskjob: Daskjob) -> None:
    with attached(daskjob) as (run, command):
        assert go(daskjob, run).code == 7
        done = finish(command)
        assert (done.code, done.text) == (7, "done\n")
        assert "daskjob: waits failed in " in done.err


def test_ctrl_c_cancels_the_run(daskjob: Daskjob) -> None:
    with attached(daskjob) as (run, command):
        command.send_signal(signal.SIGINT)
        done = finish(command)
        assert done.code == 123
        assert "daskjob: Ctrl-C: cancelling the job; a second one leaves" in done.err
        assert "waits was cancelled by Ctrl-C in daskjob attach waits, after" in done.err
        assert finish(run).code == 123


def test_sigquit_leaves_the_run_alone(daskjob: Daskjob) -> None:
    with attached(daskjob) as (run, command):
        command.send_signal(signal.SIGQUIT)
        done = finish(command)
        assert done.code == 124
        assert "daskjob: waits continues: daskjob attach waits" in done.err
        assert "Ctrl-" not in done.err
        assert go(daskjob, run).code == 7


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_lost_terminal_does_not_cancel_the_run(daskjob: Daskjob, number: signal.Signals) -> None:
    with attached(daskjob) as (run, command):
        command.send_signal(number)
        done = finish(command)
        assert done.code == -number
        left = "terminated; waits continues: daskjob attach waits" in done.err
        assert left is (number == signal.SIGTERM)
        assert go(daskjob, run).code == 7


def test_reader_that_leaves_does_not_cancel_the_run(daskjob: Daskjob) -> None:
    with attached(daskjob) as (run, command):
        assert command.stdout is not None
        command.stdout.close()
        assert go(daskjob, run).code == 7
        assert command.wait(PATIENCE_SECONDS) == 141


def test_timeout_ends_with_124_and_the_run_continues(daskjob: Daskjob) -> None:
    with attached(daskjob, "--timeout", "1s") as (run, command):
        done = finish(command)
        assert done.code == 124
        assert "waits has not ended within 1 s; it continues: daskjob attach waits" in done.err
        assert go(daskjob, run).code == 7


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["suspend", "squares"], "has ended and cannot be suspended; retry runs it again"),
        (["resume", "squares"], "has ended and cannot be resumed; retry runs it again"),
        (["scale", "-w", "3", "squares"], "has ended and has no workers"),
    ],
)
def test_an_ended_job_is_not_changed(
    user: Daskjob, succeeded: Done, words: list[str], why: str
) -> None:
    assert succeeded.code == 0
    done = user(*words)
    assert (done.code, done.text, done.err) == (125, "", f"daskjob: squares {why}\n")


#: Many threads: which of them see the end before the loop is closed is chance.
LEFT = """\
import asyncio, atexit, threading, time
from daskjob.submit import sync
from daskjob.submit.jobs import JobRef
from daskjob.submit.terminal.following import _Follower

waiting = []

async def wait():
    waiting.append(1)
    await asyncio.sleep(60)

class Jobs:
    def logs(self, ref, *, follow):
        yield sync.run(wait, name="logs")

    def watch(self, ref):
        yield sync.run(wait, name="watch")

follower = _Follower(Jobs(), JobRef("sums", "team", "1"), "", None)
readers = [follower._read_log, follower._watch] * 10
threads = [threading.Thread(target=reader) for reader in readers]
for thread in threads:
    thread.start()
while len(waiting) < len(threads):
    time.sleep(0.01)
atexit.unregister(sync._at_exit)
sync._at_exit()
for thread in threads:
    thread.join()
"""


def test_end_of_the_process_ends_what_reads_a_job_silently() -> None:
    done = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
