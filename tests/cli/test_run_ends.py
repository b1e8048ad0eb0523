"""How runs end: exit codes (design §5.5), deadlines, cancellation, retries, results."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from typing import Any

import pytest

from tests.cli.command import Daskjob, Done, finish, job
from tests.waiting import wait_until

WAITS = "import time\nprint('ready', flush=True)\ntime.sleep(600)\n"


def started(daskjob: Daskjob, *words: object, **more: Any) -> subprocess.Popen[bytes]:
    """A run whose script has printed that it is ready."""
    process = daskjob.start("run", "--workers", 0, *words, **more)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process


# Ends


def test_timeout_ends_the_run_with_122(daskjob: Daskjob) -> None:
    began = time.monotonic()
    done = daskjob.run("--timeout", "2s", "--name", "slow", daskjob.script(WAITS))
    assert done.code == 122
    # Like deadlines of Kubernetes, it counts from the start rounded down to a second.
    assert 1 <= time.monotonic() - began < 15
    assert daskjob.status()["reason"] == "DeadlineExceeded"
    assert "the script took longer than --timeout allows (2 s)" in done.err
    [took] = re.findall(r"failed in (\d+)s: ", done.err)
    assert int(took) >= 2
    assert f" {took}s" in daskjob("list").text.splitlines()[1]


def test_attempt_deadline_of_1_s_ends_the_run_with_122(daskjob: Daskjob) -> None:
    manifest = job(WAITS, attemptDeadlineSeconds=1)
    done = daskjob("run", daskjob.manifest(manifest))
    assert done.code == 122
    assert daskjob.status()["reason"] == "AttemptDeadlineExceeded"


def test_stall_of_1_s_fails_with_stall_action_fail(daskjob: Daskjob) -> None:
    manifest = job(WAITS, stallDeadlineSeconds=1, stallAction="Fail")
    done = daskjob("run", daskjob.manifest(manifest))
    assert done.code == 122
    assert daskjob.status()["reason"] == "Stalled"


def test_lines_in_the_log_prevent_a_stall(daskjob: Daskjob) -> None:
    text = "import time\nfor n in range(12):\n    print(n, flush=True)\n    time.sleep(0.2)\n"
    manifest = job(text, stallDeadlineSeconds=1, stallAction="Fail")
    assert daskjob("run", daskjob.manifest(manifest)).code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_cancels_with_123(daskjob: Daskjob, number: signal.Signals) -> None:
    process = started(daskjob, daskjob.script(WAITS))
    process.send_signal(number)
    done = finish(process, timeout=20)
    assert done.code == 123
    assert "cancelling" in done.err
    status = daskjob.status()
    assert (status["jobStatus"], status["reason"]) == ("Failed", "Cancelled")
    assert status["phase"] == "Cancelled"


@pytest.mark.parametrize("how", ["SIGINT", "cancel"])
def test_a_cancelled_script_runs_its_finally_and_the_run_ends_with_123(
    daskjob: Daskjob, how: str
) -> None:
    text = "import atexit, sys, time\natexit.register(print, 'at exit')\n"
    text += "print('ready', flush=True)\n"
    text += "try:\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    sys.exit(0)\n"
    text += "finally:\n    print('finally')\n"
    process = started(daskjob, "--name", "tidy", daskjob.script(text))
    if how == "cancel":
        assert daskjob("cancel", "tidy").code == 0
    else:
        process.send_signal(signal.SIGINT)
    done = finish(process, timeout=40)
    assert (done.code, done.out) == (123, b"finally\nat exit\n")


def test_second_ctrl_c_kills_at_once_whatever_the_grace(daskjob: Daskjob) -> None:
    ignores = "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    ignores += "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    text = f"import signal\n{ignores}{WAITS}"
    process = started(daskjob, daskjob.script(text))
    process.send_signal(signal.SIGINT)
    wait_until(lambda: daskjob.status().get("reason") == "Cancelled")
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    done = finish(process, timeout=20)
    assert done.code == 123
    assert time.monotonic() - asked < 5, "the script's grace is 10 s"
    assert "killing" in done.err


def test_two_signals_in_a_burst_at_the_start_end_it(daskjob: Daskjob) -> None:
    process = daskjob.start("run", "-w", 0, "--name", "early", daskjob.script(WAITS))
    wait_until(lambda: list(daskjob.state.glob("early.*")))
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    done = finish(process, timeout=20)
    assert done.code in (123, -signal.SIGTERM)


def test_cancel_from_another_terminal_ends_the_run_with_123(daskjob: Daskjob) -> None:
    process = started(daskjob, "--name", "slow", daskjob.script(WAITS))
    asked = daskjob("cancel", "--wait", "slow")
    assert asked.code == 0
    assert "slow is being cancelled" in asked.text
    assert process.wait(10) == 123, "cancel --wait returned before the run had ended"
    finish(process)
    assert "has already ended" in daskjob("cancel", "slow").text


def test_nohup_keeps_the_run_alive_when_the_terminal_closes(daskjob: Daskjob) -> None:
    text = "import pathlib, time\nprint('ready', flush=True)\n"
    text += "while not pathlib.Path('go').exists(): time.sleep(0.02)\n"
    process = started(
        daskjob,
        daskjob.script(text),
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    process.send_signal(signal.SIGHUP)
    (daskjob.work / "go").touch()
    assert finish(process, timeout=20).code == 0


# Retries

COUNTS = """\
import os, sys
print("attempt", os.environ["DASKJOB_ATTEMPT"], flush=True)
sys.exit(0 if os.environ["DASKJOB_ATTEMPT"] == os.environ.get("GOOD") else 5)
"""


def test_retries_continue_until_an_attempt_succeeds(daskjob: Daskjob) -> None:
    done = daskjob.run(
        *("--retries", 3, "--env", "GOOD=1", "--name", "second"), daskjob.script(COUNTS)
    )
    assert done.code == 0
    assert done.text == "attempt 0\nattempt 1\n"
    status = daskjob.status()
    assert [(a["number"], a["exitCode"]) for a in status["attempts"]] == [(0, 5), (1, 0)]
    assert status["failures"] == 1
    assert "attempt 0 failed: the script exited with code 5" in done.err
    names = [a["runnerPodName"] for a in status["attempts"]]
    assert names == ["second-runner", "second-runner-1"]


def test_exhausted_retries_end_with_the_scripts_exit_code(daskjob: Daskjob) -> None:
    done = daskjob.run("--retries", 1, daskjob.script(COUNTS))
    assert done.code == 5
    assert done.text == "attempt 0\nattempt 1\n"
    status = daskjob.status()
    assert status["reason"] == "BackoffLimitExceeded"
    assert "2 attempts failed" in status["message"]


def test_backoff_of_1_s_and_factor_2_delays_the_attempts(daskjob: Daskjob) -> None:
    text = "import os, time\nprint(time.time(), flush=True)\n"
    text += "raise SystemExit(os.environ['DASKJOB_ATTEMPT'] != '2')\n"
    backoff = {"initialSeconds": 1, "factor": 2}
    done = daskjob("run", daskjob.manifest(job(text, backoffLimit=2, backoff=backoff)))
    assert done.code == 0
    first, second, third = map(float, done.text.split())
    assert 1 <= second - first < 4
    assert 2 <= third - second < 5


def test_rule_of_the_failure_policy_ends_the_job_at_its_exit_code(daskjob: Daskjob) -> None:
    rule = {
        "name": "hopeless",
        "action": "FailJob",
        "onExitCodes": {"operator": "In", "values": [5]},
    }
    manifest = job(COUNTS, backoffLimit=3, failurePolicy={"rules": [rule]})
    done = daskjob("run", daskjob.manifest(manifest))
    assert (done.code, done.text) == (5, "attempt 0\n")
    assert "hopeless" in done.err


def test_cancelled_between_attempts_it_ends_with_123(daskjob: Daskjob) -> None:
    manifest = job("raise SystemExit(5)", backoffLimit=3, backoff={"initialSeconds": 300})
    process = daskjob.start("run", daskjob.manifest(manifest))
    wait_until(lambda: daskjob.state.exists() and daskjob.jobs() and daskjob.status().get("phase"))
    wait_until(lambda: daskjob.status().get("phase") == "Retrying")
    process.send_signal(signal.SIGINT)
    assert finish(process, timeout=20).code == 123


def test_every_attempt_has_a_fresh_cluster(daskjob: Daskjob) -> None:
    text = """\
import os
from distributed import Client
with Client() as client:
    print(client.scheduler_info()["id"], "old" in client.list_datasets())
    client.publish_dataset(old=[1])
    raise SystemExit(os.environ["DASKJOB_ATTEMPT"] == "0")
"""
    manifest = job(text, backoffLimit=1, backoff={"initialSeconds": 1})
    done = daskjob("run", daskjob.manifest(manifest))
    assert done.code == 0, done.err
    (first, had), (second, has) = (line.split() for line in done.text.splitlines())
    assert first != second
    assert (had, has) == ("False", "False")


def test_restart_of_only_the_runner_keeps_the_cluster(daskjob: Daskjob) -> None:
    text = """\
import os
from distributed import Client
with Client() as client:
    print(client.scheduler_info()["id"], "old" in client.list_datasets())
    if os.environ["DASKJOB_ATTEMPT"] == "0":
        client.publish_dataset(old=[1])
        raise SystemExit(1)
"""
    manifest = job(
        text, backoffLimit=1, backoff={"initialSeconds": 1}, failurePolicy={"restart": "Runner"}
    )
    done = daskjob("run", daskjob.manifest(manifest))
    assert done.code == 0, done.err
    (first, had), (second, has) = (line.split() for line in done.text.splitlines())
    assert first == second
    assert (had, has) == ("False", "True")


# Results


def result_script(text: str) -> str:
    return (
        "import os, pathlib\n"
        f"pathlib.Path(os.environ['DASKJOB_RESULT_FILE']).write_text({text!r})\n"
        "print('mine')\n"
    )


def test_result_file_holds_the_result_of_the_script(daskjob: Daskjob) -> None:
    script = daskjob.script(result_script('{"total": 3}'))
    done = daskjob.run("--result-file", "result.json", "--name", "sums", script)
    assert done.code == 0
    assert json.loads((daskjob.work / "result.json").read_text()) == {"total": 3}
    assert daskjob.status()["result"] == {"total": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x" * 5000, "longer than 4096 bytes and was left out"),
        ('"' + "ä" * 2048 + '"', "longer than 4096 bytes and was left out"),
        ("total: 3", "not JSON and was left out"),
    ],
)
def test_result_that_cannot_be_kept_is_reported(daskjob: Daskjob, text: str, message: str) -> None:
    script = daskjob.script(result_script(text))
    done = daskjob.run("--result-file", "result.json", script)
    assert (done.code, done.out) == (0, b"mine\n")
    assert message in done.err
    assert (daskjob.work / "result.json").read_text() == "null\n"


def test_result_of_a_failure_does_not_count(daskjob: Daskjob) -> None:
    script = daskjob.script(result_script('{"total": 3}') + "raise SystemExit(4)")
    done = daskjob.run("--result-file", "result.json", script)
    assert done.code == 4
    assert "result" not in daskjob.status()


@pytest.mark.parametrize(
    ("output", "begins"),
    [("json", b"{"), ("yaml", b"apiVersion: "), ("name", b"daskjob/printed\n")],
)
def test_output_option_leaves_standard_output_to_the_object(
    daskjob: Daskjob, output: str, begins: bytes
) -> None:
    script = daskjob.script("print('mine')")
    done = daskjob.run("-o", output, "--name", "printed", script)
    assert done.out.startswith(begins)
    assert b"mine" not in done.out
    assert "mine\n" in done.err
    if output == "json":
        assert done.object()["status"]["jobStatus"] == "Successful"


def test_full_disk_under_standard_output_is_reported(daskjob: Daskjob) -> None:
    with open("/dev/full", "wb") as full:
        done = daskjob.run(daskjob.script("print('mine')"), stdout=full)
    assert done.code == 125
    assert "No space left on device" in done.err
    assert "Traceback" not in done.err


# Leftovers


def test_only_the_folder_of_a_run_is_left(daskjob: Daskjob) -> None:
    script = daskjob.script("print('mine')")
    assert daskjob.run("--name", "clean", script).code == 0
    assert daskjob.left_over() == []
    folder, records = sorted(daskjob.state.glob("*.*/"), key=lambda path: path.name[0] == ".")
    assert [folder.name.partition(".")[0], records.name] == ["clean", ".ran"]
    assert {path.stat().st_mode & 0o777 for path in (folder, records)} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in records.iterdir()} == {0o600}
    assert sorted(path.name for path in daskjob.work.iterdir()) == ["script.py"]
    assert sorted(path.name for path in daskjob.temporary.iterdir()) == []


def ended_with(done: Done, code: int) -> bool:
    """Whether a command ended with this code and without a traceback."""
    return done.code == code and "Traceback" not in done.err


def test_pid_1_of_the_terminal_is_left_alone(daskjob: Daskjob) -> None:
    before = os.getpgrp()
    assert ended_with(daskjob.run(daskjob.script("import os; print(os.getpgrp())")), 0)
    assert os.getpgrp() == before


# Workers that are being retired

#: A group shrinks to 1 while the remaining worker holds the GIL: its scheduler cannot move data to
#: it, so that the retirement of the other worker takes its whole time, a minute.
RETIRES = """\
import ctypes, time
from distributed import Client, wait

def busy(_):
    time.sleep(0.2)

def hold():
    ctypes.PyDLL(None).sleep(120)

client = Client()
demand = client.map(busy, range(1000))
client.wait_for_workers(2)
workers = list(client.scheduler_info()["workers"])
data = [client.submit(bytes, n, workers=[w], priority=1) for n, w in enumerate(workers)]
wait(data)
held = client.submit(hold, workers=workers[:1], priority=1)
client.cancel(demand)
print("ready", flush=True)
time.sleep(600)
"""


def test_second_ctrl_c_ends_the_run_within_5_s_while_a_worker_is_being_retired(
    daskjob: Daskjob,
) -> None:
    manifest = job(RETIRES, cluster={})
    worker = manifest["spec"]["cluster"]["spec"]["worker"]
    worker["autoscaling"] = {"minimum": 1, "maximum": 2, "scaleDownDelaySeconds": 1}
    process = daskjob.start("run", daskjob.manifest(manifest))
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    log = daskjob.log("job-scheduler")
    wait_until(lambda: "Retire worker" in log.read_text(), 30, log.read_text)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    done = finish(process, timeout=90)
    assert done.code == 123
    assert time.monotonic() - asked < 5
    assert daskjob.status()["reason"] == "Cancelled"
