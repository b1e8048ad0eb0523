"""``daskjob cluster`` and ``daskjob dashboard`` on a real cluster with an operator."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import IO, Any

import pytest

from daskjob import ClusterClient
from tests.cli.command import Daskjob, finish
from tests.cli.test_on_cluster import OnCluster, operator
from tests.cluster.plugin import Kubectl, Kubernetes
from tests.operator.jobs import python_job
from tests.waiting import until

SMALL = (
    *("--cpu", "100m", "--memory", "400Mi", "--scheduler-cpu", "100m"),
    *("--scheduler-memory", "400Mi", "--run-as-user", "image", "--set", "spec.idleTimeout=900"),
)
#: Ends with 5; while it runs, the scheduler's pod is replaced.
USES = """\
import os, sys, time
from distributed import Client

address = os.environ["DASK_SCHEDULER_ADDRESS"]
with Client() as client:
    print(client.submit(sum, range(100)).result(), flush=True)
    first = client.scheduler_info()["id"]
sys.stdin.readline()
with Client(address, timeout=60) as client:
    print(client.scheduler_info()["id"] != first, address, flush=True)
sys.exit(5)
"""


@pytest.fixture
def there(daskjob: Daskjob, with_crds: Kubernetes, namespace: str) -> OnCluster:
    found = OnCluster(daskjob, with_crds, namespace)
    recorder = daskjob.work / "browser"
    recorder.write_text('#!/bin/sh\necho "$1" >> opened\n')
    recorder.chmod(0o755)
    daskjob.variables["BROWSER"] = f"{recorder} %s"
    return found


async def line(stream: IO[bytes] | None) -> str:
    assert stream is not None
    return (await asyncio.to_thread(stream.readline)).decode().rstrip("\n")


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return str(answer.read().decode())


def use_from_python(namespace: str, kubeconfig: str) -> None:
    with ClusterClient(namespace, kubeconfig=kubeconfig) as clusters:
        assert [found.name for found in clusters.list()] == ["mine"]
        cluster = clusters.wait(clusters.get("mine"), workers=0, timeout_seconds=60)
        with clusters.connected(cluster, timeout_seconds=60) as ways:
            assert "dask" in get(ways.dashboard_link).lower()
            host, _, port = ways.scheduler_address.removeprefix("tcp://").rpartition(":")
            socket.create_connection((host, int(port)), timeout=5).close()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((host, int(port)), timeout=5)
        # An error within the block ends the forwards, too.
        with pytest.raises(KeyError), clusters.connected(cluster, port=int(port)):
            raise KeyError
        with clusters.connected(cluster, port=int(port), comm=True):
            pass


async def test_cluster_from_its_creation_to_its_end(
    there: OnCluster, with_crds: Kubernetes, kubectl: Kubectl, tmp_path: Path
) -> None:
    image = with_crds.image("dask")
    work = there.daskjob.work

    async def cluster(verb: str, *words: object) -> tuple[int, str, str]:
        done = await asyncio.to_thread(finish, start(verb, *words), timeout=180)
        return done.code, done.text, done.err

    def start(verb: str, *words: object, **more: Any) -> subprocess.Popen[bytes]:
        return there.daskjob.start("cluster", verb, "-n", there.namespace, *words, **more)

    async with operator(with_crds, there.namespace, tmp_path):
        code, text, err = await cluster(
            "create", "mine", "--image", image, "-w", 1, *SMALL, "--idle-timeout", "20m", "--wait"
        )
        assert (code, text.splitlines()[0]) == (0, "daskcluster/mine ready with 1/1 workers"), err
        (made,) = kubectl.items("daskclusters")
        # --set is the last word.
        assert made["spec"]["idleTimeout"] == 900
        assert (await cluster("create", "mine", "--image", image))[0] == 125
        _, text, _ = await cluster("list")
        assert [row.split()[:3] for row in text.splitlines()[1:]] == [["mine", "Running", "1/1"]]

        # A program beside the connection, which survives another scheduler pod.
        script = there.daskjob.script(USES, "uses.py")
        piped = {"stdin": subprocess.PIPE}
        command = start("connect", "mine", "--port", 0, "--", sys.executable, script, **piped)
        assert await line(command.stdout) == "4950"
        kubectl("delete", "pod", "mine-scheduler", "--wait=false", "--grace-period=0", "--force")
        assert command.stdin is not None
        command.stdin.write(b"\n")
        answer = await line(command.stdout)
        # Without an answer, it has ended: with the reason on standard error.
        why = "" if answer else (await asyncio.to_thread(finish, command)).err
        assert answer.startswith("True tcp://127.0.0.1:"), why
        done = await asyncio.to_thread(finish, command, timeout=90)
        assert done.code == 5, done.err

        # From Python.
        await asyncio.to_thread(use_from_python, there.namespace, str(with_crds.kubeconfig))

        # Until Ctrl-C, which is the normal end.
        command = start("connect", "mine")
        scheduler, dashboard = await line(command.stdout), await line(command.stdout)
        assert scheduler.startswith("Scheduler:  tcp://127.0.0.1:")
        assert "dask" in (await asyncio.to_thread(get, dashboard.split()[1])).lower()
        command.send_signal(signal.SIGINT)
        assert (await asyncio.to_thread(finish, command)).code == 0

        command = start("dashboard", "mine")
        url = await line(command.stdout)
        await until(lambda: (work / "opened").exists(), pause=0.05)
        assert (work / "opened").read_text().split() == [url]
        assert await cluster("scale", "mine", 0) == (0, "mine is being scaled to 0 workers\n", "")
        await until(lambda: not kubectl.there("pods", labelSelector="dask.org/component=worker"))
        # A wrong name keeps it from no other cluster.
        code, out, err = await cluster("delete", "nope", "mine")
        assert (code != 0, out) == (True, "mine is being deleted\n")
        assert "nope" in err
        done = await asyncio.to_thread(finish, command)
        assert (done.code, done.err.splitlines()[-1]) == (125, "daskjob: cluster mine was deleted")
        await until(lambda: not kubectl.there("daskclusters", "services", "pods"), pause=0.2)


async def test_dashboard_of_a_job_until_its_end(
    there: OnCluster, with_crds: Kubernetes, tmp_path: Path
) -> None:
    manifest = python_job(
        with_crds.image("dask"), "import time; time.sleep(999)", name="sleeps", dask=True
    )
    file = there.daskjob.manifest(manifest)
    async with operator(with_crds, there.namespace, tmp_path):
        assert (await there.call("submit", "-f", file)).code == 0
        await until(lambda: _has_cluster(there), pause=0.2)
        words = ("cluster", "delete", "-n", there.namespace, "sleeps")
        rejected = await asyncio.to_thread(there.daskjob, *words)
        assert "sleeps belongs to job sleeps, which ends with it" in rejected.err
        # It was submitted from here, so it is found without a namespace.
        command = there.daskjob.start("dashboard", "--no-browser", "sleeps")
        url = await line(command.stdout)
        assert "dask" in (await asyncio.to_thread(get, url)).lower()
        assert not (there.daskjob.work / "opened").exists()
        assert (await there.call("cancel", "sleeps")).code == 0
        done = await asyncio.to_thread(finish, command)
        assert (done.code, done.err.splitlines()[-1]) == (0, "daskjob: sleeps has ended")
        done = await there.call("dashboard", "sleeps")
        assert done.code != 0
        assert "sleeps has ended, and its dashboard with it" in done.err


async def _has_cluster(there: OnCluster) -> bool:
    found = (await there.call("status", "-o", "json", "sleeps")).object()
    return bool(found.get("status", {}).get("clusterName"))
