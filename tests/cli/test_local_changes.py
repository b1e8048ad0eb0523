"""Suspend, resume and scale a job of this machine, as one of a cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from daskjob.backends.local import asked_changes
from daskjob.backends.local.asked_changes import apply_asked, ask
from daskjob.backends.local.run_folder import RunFolder
from daskjob.core.errors import Conflict, Timeout
from tests.cli.command import Daskjob, cmdline, finish, job
from tests.cli.in_process import call
from tests.waiting import wait_until

#: Keeps 20 results on its workers, and ends when there is a file ``go``.
HOLDS = """\
import os, pathlib, time
from distributed import Client, wait

def made(number):
    with open("made", "a") as file:
        file.write(f"{number}\\n")
    return number

attempt = os.environ["DASKJOB_ATTEMPT"]
client = Client()
futures = client.map(made, range(20), key=[f"made-{attempt}-{n}" for n in range(20)])
wait(futures)
seen = 0
while not pathlib.Path("go").exists():
    if seen != len(client.ncores()):
        seen = len(client.ncores())
        pathlib.Path(f"workers-{attempt}-{seen}").touch()
    time.sleep(0.05)
print(attempt, sum(client.gather(futures)), len(client.ncores()))
"""


def command(daskjob: Daskjob, *words: object) -> str:
    """Run a command that succeeds, and return its output."""
    done = call(words, daskjob.environment)
    assert done.code == 0, done.err
    return done.text


def started(daskjob: Daskjob, *words: object, seen: str = "") -> subprocess.Popen[bytes]:
    """Start a run, and wait for the file of its script."""
    process = daskjob.start("run", *words)
    wait_until(lambda: not seen or (daskjob.work / seen).exists(), shows=f"there is {seen}")
    return process


def until_phase(daskjob: Daskjob, phase: str) -> None:
    wait_until(lambda: daskjob.jobs() and daskjob.status().get("phase") == phase, shows=phase)


def test_scale_moves_data_and_suspension_starts_a_new_attempt(daskjob: Daskjob) -> None:
    words = ("-w", 2, "-t", 1, "--name", "holds", daskjob.script(HOLDS))
    process = started(daskjob, *words, seen="workers-0-2")
    text = command(daskjob, "scale", "-w", 3, "holds")
    assert text == "holds is being scaled to 3 workers\n"
    wait_until((daskjob.work / "workers-0-3").exists, shows="a third worker")
    assert command(daskjob, "scale", "-w", 1) == "holds is being scaled to 1 worker\n"
    wait_until((daskjob.work / "workers-0-1").exists, shows="one worker")
    # No result was computed twice: those of the others were moved.
    assert len((daskjob.work / "made").read_text().split()) == 20
    wait_until(lambda: "1/1 ready" in command(daskjob, "status"), shows="status has one worker")

    assert command(daskjob, "suspend") == "holds is being suspended\n"
    until_phase(daskjob, "Suspended")
    assert daskjob.status()["jobStatus"] == "JobCreated"
    assert "startTime" not in daskjob.status()
    wait_until(
        lambda: not [p for p in daskjob.alive() if "worker" in " ".join(cmdline(p))],
        shows="no process of a worker",
    )
    assert "holds   Suspended" in command(daskjob, "list")
    why = command(daskjob, "why")
    assert "is suspended" in why
    assert why.endswith("\n  daskjob resume holds\n")
    assert call(("wait", "--timeout", "1s", "holds"), daskjob.environment).code == 124
    assert command(daskjob, "suspend", "holds") == "holds is being suspended\n"

    (daskjob.work / "go").touch()
    assert command(daskjob, "resume") == "holds is being resumed\n"
    done = finish(process)
    assert (done.code, done.text) == (0, "1 190 1\n"), done.err
    assert "daskjob: holds is suspended; it continues with: daskjob resume holds" in done.messages
    assert "(attempt 1) is starting 1 worker" in done.err
    status = daskjob.status()
    assert [attempt["reason"] for attempt in status["attempts"]][:1] == ["Suspended"]
    assert not status.get("failures")
    assert [e["reason"] for e in json.loads(command(daskjob, "events", "-o", "json"))["events"]][
        1:3
    ] == ["Suspended", "Resumed"]


ADAPTS = """\
import pathlib, time
from distributed import Client
client = Client()
client.cluster.adapt(minimum=1, maximum=2)
pathlib.Path("adapted").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.05)
"""


def test_workers_that_the_script_adapts_are_not_scaled(daskjob: Daskjob) -> None:
    process = started(daskjob, "-t", 1, daskjob.script(ADAPTS), seen="adapted")
    # The run takes a script's request a moment later.
    wait_until(
        lambda: "by its script: adapt()" in call(("scale", "-w", 2), daskjob.environment).err,
        shows="a message",
    )
    done = call(("scale", "-w", 2), daskjob.environment)
    many = call(("scale", "-w", "1001"), daskjob.environment)
    (daskjob.work / "go").touch()
    assert finish(process).code == 0
    assert done.code == 125
    assert "are scaled automatically, by its script: adapt()" in done.err
    assert many.code == 125
    assert "at most 1000" in many.err


def test_manifest_that_adapts_is_not_scaled_and_starts_suspended(daskjob: Daskjob) -> None:
    manifest = job("print('ran')", suspend=True)
    manifest["spec"]["cluster"]["spec"]["worker"]["autoscaling"] = {"minimum": 0, "maximum": 2}
    process = daskjob.start("run", daskjob.manifest(manifest))
    until_phase(daskjob, "Suspended")
    done = call(("scale", "-w", "2"), daskjob.environment)
    assert "the workers of job are scaled automatically" in done.err
    command(daskjob, "resume")
    found = finish(process)
    assert (found.code, found.text) == (0, "ran\n"), found.err


@pytest.mark.parametrize("words", [("-",), ("python", "-u", "-"), ("python", "-")])
def test_script_of_standard_input_is_not_suspended(daskjob: Daskjob, words: tuple[str]) -> None:
    text = "import time, pathlib\nwhile not pathlib.Path('go').exists(): time.sleep(0.05)\n"
    process = daskjob.start("run", "-w", 0, *words, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(text.encode())
    process.stdin.close()
    process.stdin = None
    until_phase(daskjob, "Running")
    done = call(("suspend",), daskjob.environment)
    (daskjob.work / "go").touch()
    assert finish(process).code == 0
    assert done.code == 125
    assert "has read its script from standard input" in done.err


def test_suspended_job_is_cancelled(daskjob: Daskjob) -> None:
    text = "import time, pathlib\npathlib.Path('on').touch()\ntime.sleep(100)\n"
    process = started(daskjob, "-w", 0, "--retries", 3, daskjob.script(text), seen="on")
    command(daskjob, "suspend")
    until_phase(daskjob, "Suspended")
    command(daskjob, "cancel", "--wait")
    assert finish(process).code == 123
    for verb in ("suspend", "resume", "scale -w 2"):
        done = call((*verb.split(),), daskjob.environment)
        assert (done.code, "has ended" in done.err) == (125, True), done.err


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "slow.12345678").mkdir()
    return RunFolder(tmp_path / "slow.12345678")


def rejected(spec: object) -> None:
    raise Conflict(f"not now: {spec}")


@pytest.mark.parametrize(
    ("apply", "message"), [(print, ""), (rejected, "not now: {'suspend': True}")]
)
def test_who_asks_learns_whether_it_was_applied(
    folder: RunFolder, apply: Callable[[object], None], message: str
) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from daskjob.backends.local.asked_changes import ask\n"
        "from daskjob.backends.local.run_folder import RunFolder\n"
        "print(ask(RunFolder(pathlib.Path(sys.argv[1])), {'suspend': True}))\n"
    )
    with folder.held():
        asking = subprocess.Popen(
            [sys.executable, "-c", code, folder.path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: list(folder.path.glob("*.asked")), shows="a question")
        apply_asked(folder, apply)
        out, err = asking.communicate()
    assert (out == "True\n") is not bool(message), err
    assert message in err
    assert [path.name for path in folder.path.iterdir()] == ["lock"]


def test_run_that_does_not_respond_is_named(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked_changes, "ANSWER_SECONDS", 0)
    with folder.held(), pytest.raises(Timeout, match="the process that runs slow has not"):
        ask(folder, {"suspend": True})
    assert list(folder.path.glob("*.asked"))


def test_run_that_has_ended_is_not_asked(folder: RunFolder) -> None:
    assert not ask(folder, {"suspend": True})
    assert not list(folder.path.glob("*.asked"))


CLUSTERS = """\
import pathlib, time
from distributed import Client, LocalCluster

options = {"dashboard_address": ":0", "threads_per_worker": 1}
for number, more in enumerate(MORE):
    began = time.monotonic()
    with LocalCluster(**options, **more) as cluster, Client(cluster) as client:
        names = [worker["name"] for worker in client.scheduler_info()["workers"].values()]
        # One whose workers do not come gives up after 90 s.
        print(len(names), client.submit(sum, [1, 2]).result(), time.monotonic() - began < 60)
    pathlib.Path(f"made-{number}").touch()
    while not pathlib.Path(f"go-{number}").exists():
        time.sleep(0.05)
"""


@pytest.mark.parametrize("options", [("-w", 2), ()])
def test_next_cluster_of_a_script_has_the_workers_that_a_user_has_set(
    daskjob: Daskjob, options: tuple[object, ...]
) -> None:
    asked = {"n_workers": 2}
    more = [{}, {}, {}, asked] if options else [asked] * 4
    text = CLUSTERS.replace("MORE", repr(more))
    process = started(daskjob, *options, "-t", 1, daskjob.script(text), seen="made-0")

    def step(number: int, workers: int | None) -> None:
        if workers is not None:
            command(daskjob, "scale", "-w", workers)
            ready = f" {workers}/{workers} ready"
            wait_until(lambda: ready in command(daskjob, "status"), shows=ready)
        (daskjob.work / f"go-{number}").touch()
        if number < 3:
            wait_until((daskjob.work / f"made-{number + 1}").exists, 100, shows="the next cluster")

    for number, workers in enumerate((3, 1, None, None)):
        step(number, workers)
    done = finish(process)
    assert done.code == 0, done.err
    # ``-w`` and the command hold against the script, which else has the last word.
    counts = (2, 3, 1, 1) if options else (2, 2, 2, 2)
    assert done.text.splitlines() == [f"{count} 3 True" for count in counts], done.err
