"""Odd runs: policies that keep objects, scripts that kill their parent, odd input and output."""

from __future__ import annotations

import os
import signal

import pytest

from tests.cli.command import Daskjob, finish, job
from tests.waiting import wait_until

KILLS_ITS_PARENT = (
    "import os, signal, time\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(600)\n"
)


def test_script_that_kills_its_parent_ends_the_run_with_a_failure(daskjob: Daskjob) -> None:
    done = daskjob.run("--name", "own", daskjob.script(KILLS_ITS_PARENT), timeout=30)
    assert done.code not in (0, 125), done.err
    assert "Traceback" not in done.err
    status = daskjob.status()
    assert status["jobStatus"] == "Failed"
    assert "SIGKILL" in status["message"]


@pytest.mark.parametrize("policy", ["Keep", "DeleteWorkers"])
def test_no_process_outlives_the_run_whatever_the_deletion_policy(
    daskjob: Daskjob, policy: str
) -> None:
    manifest = job("print('mine')", deletionPolicy={"onSuccess": policy}, workers=1)
    manifest["spec"]["runnerStart"] = "AfterScheduler"
    done = daskjob("run", daskjob.manifest(manifest))
    assert (done.code, done.text) == (0, "mine\n"), done.err
    assert daskjob.alive() == []


def test_ttl_of_1_s_does_not_remove_the_status_before_it_is_printed(daskjob: Daskjob) -> None:
    done = daskjob("run", "-o", "json", daskjob.manifest(job("pass", ttlSecondsAfterFinished=1)))
    assert done.code == 0
    assert done.object()["status"]["jobStatus"] == "Successful"


def test_startup_deadline_ends_a_job_whose_workers_never_come_with_122(daskjob: Daskjob) -> None:
    manifest = job(
        "print('never')",
        workers=1,
        worker={"args": ["sleep", "600"]},
        runnerStart="AfterWorkers",
        minAvailableWorkers=1,
        startupDeadlineSeconds=2,
    )
    done = daskjob("run", daskjob.manifest(manifest))
    assert (done.code, done.out) == (122, b"")
    assert daskjob.status()["reason"] == "StartupDeadlineExceeded"


def test_run_continues_after_sigstop_and_sigcont(daskjob: Daskjob) -> None:
    script = daskjob.script(
        "import pathlib, time\nprint('ready', flush=True)\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.02)\n"
    )
    process = daskjob.start("run", "-w", 0, script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    os.kill(process.pid, signal.SIGSTOP)
    (daskjob.work / "go").touch()
    wait_until(lambda: len(daskjob.alive()) <= 3)
    os.kill(process.pid, signal.SIGCONT)
    assert finish(process, timeout=20).code == 0


def test_100_000_lines_arrive_in_order(daskjob: Daskjob) -> None:
    script = daskjob.script("for n in range(100_000): print(n)")
    done = daskjob.run(script)
    assert done.text.splitlines() == [str(n) for n in range(100_000)]


def test_variable_with_any_bytes_reaches_the_script(daskjob: Daskjob) -> None:
    script = daskjob.script("import os\nprint(os.environb[b'ODD'])")
    done = daskjob.run(script, env={"ODD": os.fsdecode(b"\xff\n= ")})
    assert done.text == "b'\\xff\\n= '\n"
