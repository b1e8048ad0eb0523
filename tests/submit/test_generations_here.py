"""The generation rule on this machine: real runs, and tries that are killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daskjob.core.errors import Conflict, UserFailure
from daskjob.submit.generations import Identity, Step, acknowledge, start_generation
from daskjob.submit.local import LocalJobs
from tests.submit.test_local_submit import SUMS, job

TASK = Identity("dagster", ("run", "step"), labels={"team": "blue"})
WAITS = "import time; time.sleep(600)"


def test_the_cells_of_the_rule(client: LocalJobs) -> None:
    first = start_generation(client, job(SUMS), TASK, timeout_seconds=600)
    assert (first.step, first.number) == (Step.CREATED, 1)
    again = start_generation(client, job(SUMS), TASK, timeout_seconds=600)
    assert again.step in (Step.ADOPTED, Step.FINISHED)
    assert again.job.ref == first.job.ref
    done = client.wait(first.job.ref).manifest
    assert done["spec"]["activeDeadlineSeconds"] == 600
    assert done["metadata"]["labels"] == {
        "team": "blue",
        "kubernetes.dask.org/submitted-by": "dagster",
        "kubernetes.dask.org/submission-id": TASK.digest,
    }
    finished = start_generation(client, job(SUMS), TASK)
    assert (finished.step, finished.job.status.result) == (Step.FINISHED, {"total": 3})
    # The task was reset.
    acknowledge(client, first.job.ref)
    second = start_generation(client, job("raise KeyError"), TASK)
    assert (second.step, second.number) == (Step.CREATED, 2)
    with pytest.raises(UserFailure):
        client.wait(second.job.ref)
    # It failed.
    third = start_generation(client, job(WAITS), TASK)
    assert (third.step, third.number) == (Step.CREATED, 3)
    # It runs with another spec.
    assert start_generation(client, job(SUMS), TASK).job.ref == third.job.ref
    with pytest.raises(Conflict, match="runs with another spec"):
        start_generation(client, job(SUMS), TASK, on_conflict="fail")
    fourth = start_generation(client, job(f"{WAITS}  # 2"), TASK, on_conflict="replace")
    assert (fourth.step, fourth.number) == (Step.CREATED, 4)
    assert client.get(third.job.ref).status.phase == "Cancelled"
    # It was given up.
    acknowledge(client, fourth.job.ref)
    fifth = start_generation(client, job(SUMS), TASK)
    assert (fifth.step, fifth.number) == (Step.CREATED, 5)
    assert client.get(fourth.job.ref).status.phase == "Cancelled"
    assert len(client.list(labels=TASK.selector)) == 5


def test_tries_at_the_same_time_have_one_job(client: LocalJobs) -> None:
    with ThreadPoolExecutor(4) as threads:
        tries = [threads.submit(start_generation, client, job(WAITS), TASK) for _ in range(4)]
        found = [each.result() for each in tries]
    assert len({each.job.ref for each in found}) == 1
    assert sorted(each.step for each in found) == ["Adopted"] * 3 + ["Created"]


PROGRAM = """
import json, os, signal, subprocess, sys
from daskjob.submit import local_background
from daskjob import JobClient
from daskjob.submit.generations import Identity, start_generation

given = json.loads(sys.argv[1])
start = subprocess.Popen

def killed_before(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

def killed_after(*arguments, **options):
    start(*arguments, **options)
    os.kill(os.getpid(), signal.SIGKILL)

wrapped = {"before": killed_before, "after": killed_after}
subprocess.Popen = wrapped.get(given["killed"], start)
found = start_generation(JobClient.local(), given["job"], Identity("dagster", ("run", "step")))
if given["killed"] == "started":
    os.kill(os.getpid(), signal.SIGKILL)
print(found.number, found.step)
"""


@pytest.mark.parametrize("killed", ["before", "after", "started"])
def test_a_killed_try_is_followed_by_one_with_the_same_job(client: LocalJobs, killed: str) -> None:
    def tried(when: str) -> subprocess.CompletedProcess[str]:
        program = json.dumps({"killed": when, "job": job(WAITS)})
        command = [sys.executable, "-c", PROGRAM, program]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)

    assert tried(killed).returncode == -signal.SIGKILL
    assert tried("never").stdout.split()[0] == "1"
    assert tried("never").stdout.split() == ["1", "Adopted"]
    assert len(client.list()) == 1


def test_a_secret_reaches_the_processes_and_no_file(client: LocalJobs, tmp_path: Path) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "sums-env"},
        "stringData": {"API_KEY": "pnu_123"},
    }
    code = """
import json, os
with open(os.environ["DASKJOB_RESULT_FILE"], "w") as file:
    json.dump(len(os.environ["API_KEY"]), file)
"""
    manifest = job(code)
    container = manifest["spec"]["job"]["spec"]["containers"][0]
    container["envFrom"] = [{"secretRef": {"name": "sums-env"}}]
    identity = Identity("prefect", ("secret",))
    first = start_generation(client, manifest, identity, owned=[secret])
    assert client.wait(first.job.ref).status.result == len("pnu_123")
    again = start_generation(client, manifest, identity, owned=[secret])
    assert (again.step, again.job.ref) == (Step.FINISHED, first.job.ref)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"pnu_123" in path.read_bytes()]
