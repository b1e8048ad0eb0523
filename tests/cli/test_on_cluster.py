"""Commands on a real cluster: from a script to its exit code, and everything afterwards."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cli.command import Daskjob, Done, finish
from tests.client.given import job
from tests.cluster.plugin import Kubectl, Kubernetes
from tests.operator.jobs import python_job
from tests.operator.process import OperatorProcess
from tests.printed import assert_printed
from tests.waiting import until, wait_until

ADDS = """\
import os, sys
from distributed import Client
from numbers_of import LAST

with Client() as client:
    print("adding", sys.argv[1], os.environ["SECRET"], flush=True)
    print("the sum is", client.submit(sum, range(LAST)).result())
sys.exit(7)
"""
SMALL = (
    *("--workers", 1, "--cpu", "100m", "--memory", "400Mi", "--runner-cpu", "100m"),
    *("--runner-memory", "400Mi", "--scheduler-cpu", "100m", "--scheduler-memory", "400Mi"),
)
SLEEPS = "import time; print('ready', flush=True); time.sleep(999)"


class OnCluster:
    """The commands of a user, in one namespace of a cluster."""

    def __init__(self, daskjob: Daskjob, kubernetes: Kubernetes, namespace: str) -> None:
        daskjob.variables["KUBECONFIG"] = str(kubernetes.kubeconfig)
        self.daskjob = daskjob
        self.namespace = namespace

    def start(self, command: str, *words: object) -> subprocess.Popen[bytes]:
        return self.daskjob.start(command, "-n", self.namespace, *words)

    def __call__(self, command: str, *words: object) -> Done:
        # On a busy machine, three jobs at once that install packages take longer than 180 s.
        return finish(self.start(command, *words), timeout=400)

    async def call(self, command: str, *words: object) -> Done:
        return await asyncio.to_thread(self, command, *words)


@pytest.fixture
def user_there(daskjob: Daskjob, with_crds: Kubernetes, namespace: str) -> OnCluster:
    return OnCluster(daskjob, with_crds, namespace)


@asynccontextmanager
async def operator(kubernetes: Kubernetes, namespace: str, folder: Path) -> AsyncIterator[None]:
    """An operator of the namespace."""
    process = OperatorProcess(kubernetes.kubeconfig, namespace, folder / "operator.log")
    await process.start()
    try:
        yield
    finally:
        await process.stop()


async def test_script_is_submitted_followed_and_examined(
    user_there: OnCluster, with_crds: Kubernetes, kubectl: Kubectl, tmp_path: Path
) -> None:
    there, work = user_there, user_there.daskjob.work
    script = there.daskjob.script(ADDS, "adds.py")
    (work / "numbers_of.py").write_text("LAST = 100")
    (work / ".env").write_text("SECRET=hunter2")
    image = with_crds.image("dask")
    words = (*SMALL, "--image", image, "--env-file", ".env", "--token", "t", script, "--x")
    async with operator(with_crds, there.namespace, tmp_path):
        done = await there.call("submit", "--wait", *words)
        assert done.code == 7, done.err
        assert_printed(done.text, "adding --x hunter2", "the sum is 4950")
        again = await there.call("submit", *words)
        assert again.code == 0, again.err
        name = again.text.split()[0].removeprefix("daskjob/")
        assert f" {name} failed in " in done.err

        listed = (await there.call("list")).text.splitlines()
        assert [line.split()[:2] for line in listed[1:]] == [[name, "Failed"]]
        assert f"{name} " in (await there.call("list", "-o", "wide")).text
        status = (await there.call("status")).text
        assert "Exit code:  7" in status
        assert (await there.call("logs", "adds")).text == done.text
        watched = (await there.call("status", "--watch", name)).text.splitlines()
        assert [line.split()[:2] for line in watched] == [["NAME", "STATUS"], [name, "Failed"]]
        await until(lambda: not [p for p in kubectl.there("pods") if "-worker-" in p], pause=0.2)
        gone = await there.call("logs", "--workers", name)
        assert gone.code == 125
        assert "were deleted with their logs after the job ended" in gone.err
        assert (await there.call("logs", "--grep", "sum is [0-9]", name)).text.startswith("the sum")
        why = await there.call("why", "adds")
        assert why.text.endswith(f"\n  daskjob logs -n {there.namespace} {name}\n")
        assert "ExitCode" in (await there.call("events", name)).text + status
        assert (await there.call("wait", name)).code == 7
        report = await there.call("report", name)
        assert "Tasks:" in report.text + report.err
        html = (await there.call("report", name, "--html", "-")).text
        for text in (f"<h1>{name}</h1>", "Failed", f"{image}</dd>", "distributed 2", "sha256:"):
            assert text in html, text
        (secret,) = [n for n in kubectl.there("secrets") if n.endswith("-env")]
        assert secret == f"secret/{name}-env"

        retried = await there.call("retry", name)
        assert retried.code == 0, retried.err
        new = retried.text.split()[-1]
        assert (await there.call("cancel", "--wait", new)).code == 0
        for job_name in (name, new):
            assert (await there.call("delete", job_name)).text == f"{job_name} deleted\n"
        await until(lambda: secret not in kubectl.there("secrets"), pause=0.2)
        done = await there.call("list")
        assert (done.text, done.err) == ("", f"No jobs in namespace {there.namespace}.\n")


async def test_ctrl_c_cancels_a_manifests_job_and_a_lost_terminal_does_not(
    user_there: OnCluster, with_crds: Kubernetes, tmp_path: Path
) -> None:
    there = user_there
    file = there.daskjob.manifest(python_job(with_crds.image("dask"), SLEEPS, name="sleeps"))
    async with operator(with_crds, there.namespace, tmp_path):
        command = there.start("submit", "--wait", "-f", file)
        assert command.stdout is not None
        assert await asyncio.to_thread(command.stdout.readline) == b"ready\n"
        command.send_signal(signal.SIGHUP)
        assert (await asyncio.to_thread(finish, command)).code == -signal.SIGHUP
        assert (await there.call("attach", "--timeout", "1s", "sleeps")).code == 124

        command = there.start("attach", "sleeps")
        assert command.stdout is not None
        assert await asyncio.to_thread(command.stdout.readline) == b"ready\n"
        command.send_signal(signal.SIGQUIT)
        done = await asyncio.to_thread(finish, command)
        assert done.code == 124
        assert done.messages[-1].startswith("daskjob: sleeps continues: daskjob attach")
        assert "Exception in thread" not in done.err

        command = there.start("attach", "sleeps")
        assert command.stdout is not None
        assert await asyncio.to_thread(command.stdout.readline) == b"ready\n"
        command.send_signal(signal.SIGINT)
        done = await asyncio.to_thread(finish, command)
        assert (done.code, done.text) == (123, "")
        assert "Ctrl-C: cancelling the job" in done.err
        (line,) = (await there.call("list")).text.splitlines()[1:]
        assert line.split()[:2] == ["sleeps", "Cancelled"]


def test_cluster_without_an_operator_is_reported_and_can_be_left(user_there: OnCluster) -> None:
    there = user_there
    file = there.daskjob.manifest(job("sums"))
    command = there.start("submit", "--wait", "-f", file)
    assert command.stderr is not None
    assert b"following sums" in command.stderr.readline()
    line = command.stderr.readline().decode()
    assert line.startswith("daskjob: no operator has picked up sums yet")
    assert "daskjob install" in line
    assert "daskjob install" in there("why", "sums").text
    command.send_signal(signal.SIGINT)
    assert b"Ctrl-C: cancelling the job" in command.stderr.readline()
    wait_until(lambda: there("status", "-o", "json").object()["spec"].get("cancel"))
    command.send_signal(signal.SIGINT)
    done = finish(command)
    assert done.code == 123
    assert f"sums is being cancelled: daskjob status -n {there.namespace} sums" in done.err
    rejected = there("delete", "sums")
    assert rejected.code == 125
    assert "is still running" in rejected.err
    assert there("delete", "--force", "sums").code == 0


def test_token_is_one_job_and_a_dry_run_is_none(user_there: OnCluster) -> None:
    there = user_there
    file = there.daskjob.manifest(job("sums"))
    stored = there("submit", "--dry-run=server", "-o", "json", "-f", file).object()
    assert stored["metadata"]["creationTimestamp"]
    assert there("list").text == ""
    first, second = (there("submit", "--token", "t", "-f", file) for _ in range(2))
    assert first.text == second.text
    assert "was submitted before, with this token" not in first.err
    assert "was submitted before, with this token" in second.err
    third = there("submit", "-f", file, "-w", 0)
    assert third.text == "daskjob/sums submitted\n"
    taken = there("submit", "-f", file)
    assert taken.code == 125
    assert "exists and belongs to another submission" in taken.err
    names = there("list", "-o", "name").text.split()
    assert sorted(names) == sorted([first.text.split()[0], "daskjob/sums"])
    everywhere = there.daskjob("list", "-A", "-o", "json").object()
    found = [item["metadata"] for item in everywhere["items"]]
    assert {m["name"] for m in found if m["namespace"] == there.namespace} == {
        name.removeprefix("daskjob/") for name in names
    }
    header, *rows = there.daskjob("list", "-A", "-o", "wide").text.splitlines()
    assert header.split()[:2] == ["NAME", "NAMESPACE"]
    assert ["sums", there.namespace] in [row.split()[:2] for row in rows]


def test_changes_reach_the_job(user_there: OnCluster) -> None:
    there = user_there
    assert there("submit", "-f", there.daskjob.manifest(job("sums"))).code == 0
    for words, spec in (
        (("suspend", "sums"), {"suspend": True}),
        (("resume", "sums"), {"suspend": False}),
        (("scale", "-w", 3), {"cluster": 3}),
        (("cancel", "sums"), {"cancel": True}),
    ):
        assert there(*map(str, words)).code == 0
        found = there("status", "-o", "json", "sums").object()["spec"]
        found["cluster"] = found["cluster"]["spec"]["worker"]["replicas"]
        assert json.dumps(spec)[1:-1] in json.dumps(found)


def test_secret_of_another_owner_is_not_taken(user_there: OnCluster, kubectl: Kubectl) -> None:
    there = user_there
    kubectl("create", "secret", "generic", "sums-env", "--from-literal=A=theirs")
    (there.daskjob.work / ".env").write_text("A=ours")
    file = there.daskjob.manifest(job("sums"))
    done = there("submit", "--env-file", ".env", "-f", file)
    assert done.code == 125
    assert "sums-env exists and does not belong to DaskJob" in done.err
    assert "daskjob: sums was created and waits for it; delete the job\n" in done.err
    (secret,) = kubectl.items("secrets")
    assert "ownerReferences" not in secret["metadata"]
