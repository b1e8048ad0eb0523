"""Scheduler and workers of a run: their environment, failures and replacement."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Daskjob, Done, finish, job
from tests.waiting import wait_until

DOCUMENTED = Path(__file__).parents[1] / "data" / "documented" / "job.yaml"

FACTS = """\
import json, os, pathlib, sys, time
from distributed import Client

import helper

with Client() as client:
    at_once = len(client.scheduler_info()["workers"])
    plain = client.submit(helper.on_worker, 1, resources={"plain": 1}).result()
    big = client.submit(helper.on_worker, 2, resources={"big": 1}).result()
    print(json.dumps({
        "args": sys.argv[1:],
        "text": helper.TEXT,
        "init": pathlib.Path(sys.argv[1], "from-init").read_text(),
        "attempt": os.environ["DASKJOB_ATTEMPT"],
        "job": os.environ["DASKJOB_NAME"],
        "expanded": os.environ["EXPANDED"],
        "pod": os.environ["POD"],
        "at_once": at_once,
        "plain": plain,
        "big": big,
    }))
"""

HELPER = """\
import os, pathlib

TEXT = "from a file"

def on_worker(_):
    return {
        "text": TEXT,
        "name": os.environ["DASK_WORKER_NAME"],
        "env": os.environ.get("FLAVOUR"),
        "file": pathlib.Path(__file__).parent.joinpath("data.txt").read_text(),
    }
"""


def worker_pod(*resources: str, name: str = "worker") -> dict[str, Any]:
    """A worker's container with Dask resources."""
    words = ["dask", "worker", "--nthreads", "1", "--resources", " ".join(resources)]
    return {
        "name": name,
        "args": words,
        "env": [{"name": "FLAVOUR", "value": "$(DASK_WORKER_NAME)"}],
    }


def whole_job() -> dict[str, Any]:
    """A job that uses every feature of a manifest that one machine supports."""
    scratch = {"name": "scratch", "mountPath": "/scratch"}
    made = job(
        ["python"],
        name="whole",
        workers=1,
        worker=worker_pod("plain=1"),
        pod={
            "volumes": [{"name": "scratch", "emptyDir": {}}],
            "nodeSelector": {"zone": "a"},
            "initContainers": [
                {
                    "name": "fetch",
                    "args": ["sh", "-c", "printf fetched > /scratch/from-init"],
                    "volumeMounts": [scratch],
                }
            ],
            "containers": [
                {"name": "proxy", "image": "envoy", "command": ["sleep", "600"]},
                {
                    "name": "job-runner",
                    "image": "ghcr.io/dask/dask",
                    "command": ["python"],
                    "args": [
                        "/daskjob/files/facts.py",
                        "/scratch",
                        "$(GREETING)",
                        "$(UNKNOWN)",
                        "$$(GREETING)",
                        "$HOME",
                        "/daskjob/filesystem",
                    ],
                    "env": [
                        {"name": "GREETING", "value": "hello"},
                        {"name": "EXPANDED", "value": "$(GREETING) $(DASKJOB_ATTEMPT)"},
                        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        {
                            "name": "SECRET",
                            "valueFrom": {
                                "secretKeyRef": {"name": "s", "key": "k", "optional": True}
                            },
                        },
                    ],
                    "volumeMounts": [scratch],
                },
            ],
        },
        runnerStart="AfterWorkers",
    )
    made["spec"]["job"]["files"] = {
        "facts.py": FACTS,
        "helper.py": HELPER,
        "data.txt": "data",
    }
    made["spec"]["cluster"]["spec"]["workerGroups"] = [
        {
            "name": "big",
            "replicas": 1,
            "spec": {"containers": [worker_pod("big=1")]},
        }
    ]
    return made


@pytest.fixture(scope="module")
def whole(user: Daskjob) -> Done:
    return user("run", user.manifest(whole_job(), "whole.json"))


@pytest.fixture(scope="module")
def facts(whole: Done) -> dict[str, Any]:
    assert whole.code == 0, whole.err
    found: dict[str, Any] = json.loads(whole.text)
    return found


def test_files_are_importable_on_runner_scheduler_and_workers(facts: dict[str, Any]) -> None:
    assert facts["text"] == facts["plain"]["text"] == "from a file"
    assert facts["plain"]["file"] == "data"


def test_arguments_are_expanded_as_kubernetes_does(facts: dict[str, Any]) -> None:
    assert facts["args"][1:] == [
        "hello",
        "$(UNKNOWN)",
        "$(GREETING)",
        "$HOME",
        "/daskjob/filesystem",
    ]


def test_variables_see_earlier_ones_and_fields_of_the_pod(facts: dict[str, Any]) -> None:
    assert facts["expanded"] == "hello 0"
    assert facts["pod"] == "whole-runner"
    assert (facts["job"], facts["attempt"]) == ("whole", "0")


def test_init_container_ends_before_the_runner_starts(facts: dict[str, Any]) -> None:
    assert facts["init"] == "fetched"


def test_sidecar_that_never_ends_does_not_delay_the_end(whole: Done, user: Daskjob) -> None:
    assert whole.code == 0
    assert user.status("whole")["jobStatus"] == "Successful"
    assert not [p for p in user.alive() if "600" in p.cmdline()]


def test_after_workers_the_runner_finds_all_2_of_them_at_once(facts: dict[str, Any]) -> None:
    assert facts["at_once"] == 2


def test_workers_of_a_group_serve_its_resources(facts: dict[str, Any]) -> None:
    assert facts["plain"]["name"].startswith("whole-default-worker-")
    assert facts["big"]["name"].startswith("whole-big-worker-")
    assert facts["big"]["env"] == facts["big"]["name"]


def test_unsupported_features_are_named_once(whole: Done) -> None:
    notes = [line for line in whole.messages if "not on this machine" in line]
    assert len(notes) == 1
    for thing in ("image envoy", "image ghcr.io/dask/dask", "node selector"):
        assert notes[0].count(thing) == 1, thing


def test_documented_manifest_runs_unchanged(daskjob: Daskjob) -> None:
    shutil.copy(DOCUMENTED, daskjob.work)
    done = daskjob("run", "job.yaml")
    assert done.code == 0, done.err
    assert done.err.count("ghcr.io/dask/dask:latest") == 1


def test_module_beside_the_script_is_importable_on_workers(daskjob: Daskjob) -> None:
    daskjob.script("def double(n): return 2 * n", "beside.py")
    script = daskjob.script(
        "import beside\n"
        "from distributed import Client\n"
        "with Client() as client: print(client.submit(beside.double, 21).result())\n"
    )
    done = daskjob("run", "-w", 1, script, cwd=daskjob.folder)
    assert (done.code, done.text) == (0, "42\n"), done.err


# Losses


def test_worker_that_is_killed_is_replaced_and_the_job_succeeds(daskjob: Daskjob) -> None:
    script = daskjob.script(
        "import os, signal\n"
        "from distributed import Client\n"
        "with Client() as client:\n"
        "    client.wait_for_workers(1)\n"
        "    (pid,) = client.run(os.getpid).values()\n"
        "    os.kill(pid, signal.SIGKILL)\n"
        "    print(client.submit(os.getpid).result() != pid)\n"
    )
    done = daskjob("run", "-w", 1, script)
    assert (done.code, done.text) == (0, "True\n"), done.err


def test_scheduler_that_is_killed_ends_the_run_with_121(daskjob: Daskjob) -> None:
    script = daskjob.script(
        "import os, signal, time\n"
        "from distributed import Client\n"
        "client = Client()\n"
        "pid = client.run_on_scheduler(os.getpid)\n"
        "while not os.path.exists('go'): time.sleep(0.05)\n"
        "os.kill(pid, signal.SIGKILL)\n"
        "time.sleep(600)\n"
    )
    process = daskjob.start("run", "-w", 0, "--name", "lost", script)
    # Before, nothing shows that a restarted scheduler is another one.
    wait_until(lambda: daskjob.state.exists() and daskjob.jobs())
    wait_until(lambda: daskjob.status().get("schedulerIdentity"))
    (daskjob.work / "go").touch()
    done = finish(process)
    assert done.code == 121
    assert daskjob.status()["reason"] == "SchedulerLost"
    assert "all of its tasks and results are lost" in done.err


CLIENT = "from distributed import Client\nClient().submit(sum, [1, 2]).result()\n"


@pytest.mark.parametrize(
    ("worker", "message"),
    [
        (["python", "-c", "raise SystemExit('no licence')"], "no licence"),
    ],
)
def test_workers_that_cannot_start_fail_the_job_within_30_s(
    daskjob: Daskjob, worker: list[str], message: str
) -> None:
    began = time.monotonic()
    manifest = job(CLIENT, name="dead", workers=1, worker={"args": worker})
    done = daskjob("run", daskjob.manifest(manifest))
    assert time.monotonic() - began < 30
    assert daskjob.status()["reason"] == "WorkersFailed"
    assert message in done.err
    assert done.code == 121


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (["dask", "scheduler", "--no-such-option"], "--no-such-option"),
    ],
)
def test_scheduler_that_cannot_start_fails_the_job_within_30_s(
    daskjob: Daskjob, scheduler: list[str], message: str
) -> None:
    began = time.monotonic()
    manifest = job(CLIENT, name="dead", scheduler={"args": scheduler})
    done = daskjob("run", daskjob.manifest(manifest))
    assert time.monotonic() - began < 30
    assert daskjob.status()["reason"] == "SchedulerFailed"
    assert message in done.err
    assert done.code == 121


def test_init_container_that_fails_fails_the_job_with_its_code(daskjob: Daskjob) -> None:
    pod = {"initContainers": [{"name": "fetch", "args": ["sh", "-c", "echo no route; exit 4"]}]}
    done = daskjob("run", daskjob.manifest(job("print('never')", pod=pod)))
    assert (done.code, done.out) == (4, b"")
    assert "container fetch" in done.err
    assert "no route" in done.err


def test_missing_program_of_the_runner_is_127_with_a_message(daskjob: Daskjob) -> None:
    done = daskjob("run", daskjob.manifest(job(["no-such-program"])))
    assert done.code == 127
    assert "there is no such program in PATH" in done.err


# In parallel

MEETS = """\
import pathlib, sys, time
from distributed import Client
with Client() as client:
    client.wait_for_workers(1)
    addresses = sorted(client.scheduler_info()["workers"])
    print(client.scheduler.address, client.dashboard_link, *addresses, flush=True)
    while not pathlib.Path(sys.argv[1]).exists():
        time.sleep(0.02)
    assert client.submit(sum, [20, 22]).result() == 42
"""


def test_two_runs_in_parallel_are_isolated(daskjob: Daskjob) -> None:
    script = daskjob.script(MEETS)
    one = daskjob.start("run", "-w", 1, "--name", "one", script, "end-one")
    two = daskjob.start("run", "-w", 1, "--name", "two", script, "end-two")
    assert one.stdout is not None
    assert two.stdout is not None
    first, second = one.stdout.readline().split(), two.stdout.readline().split()
    assert len(first) == len(second) == 3, "each sees only its own worker"
    assert not set(first) & set(second)
    assert first[2].startswith(b"tcp://")
    (daskjob.work / "end-one").touch()
    assert finish(one, timeout=20).code == 0
    port = int(first[0].rpartition(b":")[2])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert two.poll() is None
    again = daskjob("run", "-w", 0, "--name", "two", script)
    assert again.code == 125
    assert "a job 'two' is already running on this machine" in again.err
    (daskjob.work / "end-two").touch()
    assert finish(two, timeout=20).code == 0


def test_same_name_twice_at_the_same_moment_is_a_conflict_for_one(daskjob: Daskjob) -> None:
    script = daskjob.script("import time\nprint('ready', flush=True)\ntime.sleep(2)")
    both = [daskjob.start("run", "-w", 0, "--name", "same", script) for _ in range(2)]
    codes = sorted(finish(process, timeout=30).code for process in both)
    assert codes == [0, 125]


def test_same_name_after_the_end_keeps_both_runs(daskjob: Daskjob) -> None:
    script = daskjob.script("import sys\nprint(sys.argv[1])")
    for word in ("first", "second"):
        assert daskjob.run("--name", "same", script, word).code == 0
    assert len(daskjob.jobs()) == 2
    assert daskjob("logs", "same").text == "second\n"
    assert len(daskjob("list").text.splitlines()) == 3


# Killed

MANY = """\
import subprocess, time
from distributed import Client
subprocess.Popen(["sleep", "600"], start_new_session=True)
with Client() as client:
    client.wait_for_workers(1)
    print("ready", flush=True)
    time.sleep(600)
"""


def test_nothing_remains_10_s_after_daskjob_is_killed(daskjob: Daskjob) -> None:
    process = daskjob.start("run", "-w", 1, "--name", "killed", daskjob.script(MANY))
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    assert len(daskjob.alive()) >= 5
    process.kill()
    finish(process)
    # Before any other command, which would clean up too.
    wait_until(lambda: not daskjob.left_over(), seconds=10)
    listed = daskjob("list").text
    assert "Failed" in listed
    assert "RunnerLost" in listed
    assert "Running" not in listed
    assert "was killed" in daskjob("why", "killed").text
    status = daskjob.status()
    assert (status["jobStatus"], status["phase"]) == ("Failed", "Failed")
    assert status["endTime"]
    assert daskjob.left_over() == [], "the commands clean up after a killed run"


# State that cannot be written


def test_state_directory_that_is_a_file_is_reported_and_the_job_succeeds(daskjob: Daskjob) -> None:
    daskjob.state.write_text("mine")
    done = daskjob.run(daskjob.script("print('fine')"))
    assert (done.code, done.out) == (0, b"fine\n")
    assert f"the state directory {daskjob.state} cannot be used" in done.err
    assert daskjob.state.read_text() == "mine"
    for left in daskjob.temporary.glob("daskjob-*"):
        shutil.rmtree(left)


def test_full_disk_under_the_state_directory_is_reported_and_the_job_succeeds(
    daskjob: Daskjob,
) -> None:
    mount = f"mount -t tmpfs -o size=64k tmpfs {daskjob.state}"
    run = f'"$0" -m daskjob run -w 0 {daskjob.script(FILLS)}; code=$?; ls {daskjob.state} >&2'
    daskjob.state.mkdir()
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    import sys

    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f"{mount} && {{ {run}; exit $code; }}", sys.executable],
        env=daskjob.environment,
        cwd=daskjob.work,
        capture_output=True,
        timeout=60,
        check=False,
    )
    errors = done.stderr.decode()
    assert done.returncode == 0, errors
    assert errors.count("no space is left in the state folder") == 1
    assert "Traceback" not in errors


#: Fills the disk of its own log, and continues: Python's print would raise.
FILLS = """\
import os
try:
    for _ in range(100):
        os.write(1, b"x" * 4095 + b"\\n")
except OSError:
    pass
"""


# client.shutdown()


def test_script_that_shuts_its_cluster_down_and_goes_on_ends_with_its_own_code(
    daskjob: Daskjob,
) -> None:
    script = daskjob.script(
        "import sys, time\n"
        "from distributed import Client\n"
        "client = Client()\n"
        "client.submit(time.sleep, 1.5).result()\n"
        "client.shutdown()\n"
        "time.sleep(4)\n"
        "print('written')\n"
        "sys.exit(3)\n"
    )
    done = daskjob("run", "-w", 1, "--name", "shuts", script)
    assert (done.code, done.text) == (3, "written\n")
    status = daskjob.status()
    assert status["attempts"][0]["reason"] == "ExitCode"
    assert status["progress"]["total"] == 1
    events = daskjob.log("shuts-runner").parents[1].joinpath("events.jsonl").read_text()
    for text in (events, done.err):
        assert "SchedulerLost" not in text
        assert "exits with code 0" not in text


def test_script_that_runs_no_tasks_is_reported_as_such(daskjob: Daskjob) -> None:
    done = daskjob("run", "-w", 1, daskjob.script("import time; time.sleep(3)"))
    assert done.code == 0
    assert "ran no tasks" in done.err


def test_script_may_use_the_restarted_cluster_after_a_shutdown(daskjob: Daskjob) -> None:
    script = daskjob.script(
        "from distributed import Client\n"
        "client = Client()\n"
        "print(client.submit(sum, [1, 2]).result())\n"
        "client.shutdown()\n"
        "client = Client(timeout=60)\n"
        "print(client.submit(sum, [3, 4]).result())\n"
    )
    done = daskjob("run", "-w", 1, script)
    assert (done.code, done.text) == (0, "3\n7\n"), done.err
    assert len(daskjob.status()["attempts"]) == 1
