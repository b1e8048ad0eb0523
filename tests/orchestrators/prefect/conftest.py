"""A Prefect server, and the places where jobs of flows run: an operator's cluster, and here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daskjob import JobClient
from daskjob.submit.jobs import Job
from daskjob.submit.local import LocalJobs
from tests.cluster.plugin import Kubernetes, fresh_namespace
from tests.kubecluster.conftest import started_operator
from tests.orchestrators.images import dask_image
from tests.orchestrators.prefect.server import Server, started_server
from tests.waiting import wait_until

#: The pods of tests are small.
SMALL = {"requests": {"cpu": "50m", "memory": "200Mi"}, "limits": {"memory": "500Mi"}}


@dataclass(frozen=True)
class Place:
    """Where the jobs of a block run."""

    #: The fields of a block that runs there.
    fields: dict[str, Any]
    jobs: Any

    def known(self, flow_run: object) -> list[Job]:
        """Return the jobs of a flow run, the oldest first."""
        labels = f"kubernetes.dask.org/prefect-flow-run={flow_run}"
        return sorted(self.jobs.list(labels=labels), key=lambda job: job.name)

    def running(self, flow_run: object) -> Job:
        """Wait until the script of a flow run's only job runs; return the job."""
        found = wait_until(lambda: self._running(flow_run), 180, pause=0.2)
        assert found
        return found

    def ended(self, flow_run: object, phase: str) -> Job:
        """Wait until the flow run's last job has this phase."""
        found = wait_until(lambda: self._in(flow_run, phase), 120, pause=0.2)
        assert found
        return found

    def _running(self, flow_run: object) -> Job | None:
        for job in self.known(flow_run):
            if job.status.phase == "Running" and b"waiting" in self.log(job):
                return job
        return None

    def _in(self, flow_run: object, phase: str) -> Job | None:
        last = self.known(flow_run)[-1]
        return last if last.status.phase == phase else None

    def log(self, job: Job) -> bytes:
        """Return the log of the script so far."""
        return b"".join(chunk.data for chunk in self.jobs.logs(job.ref))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Prefect and what it imports warn; that is theirs."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Prefect server on loopback, which this process uses too."""
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    folder = tmp_path_factory.mktemp("prefect")
    with (
        closing(started_server(folder)) as server,
        temporary_settings({PREFECT_API_URL: server.url, PREFECT_HOME: str(folder)}),
    ):
        yield server


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """This machine, with runs of its own."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DASKJOB_STATE_DIR", str(root))
        yield Place({"local": True, "n_workers": 1, "command": [sys.executable]}, LocalJobs(root))


@pytest.fixture(scope="session")
def cluster(
    with_crds: Kubernetes, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A namespace with an operator."""
    folder = tmp_path_factory.mktemp("operator")
    with fresh_namespace(with_crds, request.node) as namespace:
        process = started_operator(with_crds, namespace, folder / "operator.log")
        kubeconfig = str(with_crds.kubeconfig)
        fields = {
            "namespace": namespace,
            "kubeconfig": kubeconfig,
            "manifest": small_job(dask_image(with_crds)),
        }
        try:
            with JobClient(namespace, kubeconfig=kubeconfig) as client:
                yield Place(fields, client)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


@pytest.fixture(params=["machine", "cluster"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each place."""
    found: Place = request.getfixturevalue(request.param)
    return found


def small_job(image: str) -> dict[str, Any]:
    """Return a DaskJob with one worker."""

    def pod(name: str, *args: str) -> dict[str, Any]:
        container = {"name": name, "image": image, "args": list(args), "resources": SMALL}
        return {"spec": {"containers": [container]}}

    worker = pod("worker", "dask", "worker", "--nthreads", "1", "--memory-limit", "400MiB")
    scheduler = pod("scheduler", "dask", "scheduler")
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": "sums"},
        "spec": {
            "backoffLimit": 0,
            "job": pod("job-runner", "python", "-c", "pass"),
            "cluster": {"spec": {"scheduler": scheduler, "worker": {"replicas": 1, **worker}}},
        },
    }


def with_code(place: Place, code: str, **fields: Any) -> dict[str, Any]:
    """Return the fields of a block that runs this code at a place."""
    if "command" in place.fields:
        return {**place.fields, "command": [sys.executable, "-c", code], **fields}
    import copy

    manifest = copy.deepcopy(place.fields["manifest"])
    container = manifest["spec"]["job"]["spec"]["containers"][0]
    container["args"] = ["python", "-c", code.replace("$", "$$")]
    return {**place.fields, "manifest": manifest, **fields}


@dataclass(frozen=True)
class Program:
    """A process that runs a flow of ``program.py``."""

    process: subprocess.Popen[str]
    flow_run: str

    def end(self, number: int) -> str:
        """Send a signal; return what the process has printed once it has ended."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=120)[0]


@pytest.fixture
def run(server: Server, machine: Place) -> Iterator[Any]:
    """A function that starts a flow in a process of its own."""
    del machine  # its variable is for the processes too
    started: list[subprocess.Popen[str]] = []

    def start(kind: str, fields: dict[str, Any], flow_run: str = "") -> Program:
        import json

        command = [sys.executable, "-m", "tests.orchestrators.prefect.program", kind]
        environ = {**os.environ, **server.environment}
        process = subprocess.Popen(
            [*command, json.dumps(fields), flow_run],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environ,
        )
        started.append(process)
        assert process.stdout
        seen = ""
        for line in process.stdout:
            seen += line
            if line.startswith("flow run "):
                return Program(process, line.split()[-1])
        raise AssertionError(seen)

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
