"""A work pool of the type ``daskjob``, its worker as a process, and runs of its deployment."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.flows import Flow
from prefect.states import Cancelling

from daskjob.integrations.prefect import DaskJobWorker
from daskjob.submit.jobs import Job
from tests.cluster.plugin import ROOT, Kubectl, Kubernetes
from tests.orchestrators.prefect.conftest import SMALL, Place
from tests.orchestrators.prefect.server import Server, free_port
from tests.waiting import wait_until

HERE = Path(__file__).parent
#: Prefect needs more than Dask does.
LARGER = {"requests": SMALL["requests"], "limits": {"memory": "1Gi"}}
#: The packages of this process, which pods mount.
PATHS = {"source": str(ROOT), "site": sysconfig.get_paths()["purelib"]}
#: Neither of them may be seen anywhere.
API_KEY, TEAM_KEY = "pnu_not_to_be_seen", "team-key-not-to-be-seen"
#: On a busy machine, a pod with Prefect takes a minute to start.
PATIENCE = 400.0


@dataclass(frozen=True)
class Pool:
    """A work pool with a deployment of ``deployed.py``."""

    server: Server
    place: Place
    name: str
    #: The address of the server for pods, and for the worker.
    url: str
    folder: Path
    kubectl: Any = None
    deployment: Any = None

    @contextmanager
    def worker(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run a worker, as a user starts it."""
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", self.name]
        environ = {
            **os.environ,
            **self.server.environment,
            "PREFECT_API_URL": self.url,
            "PREFECT_API_KEY": API_KEY,
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PYTHONUNBUFFERED": "1",
        }
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(90)

    @property
    def log(self) -> Path:
        """The output of the workers."""
        return self.folder / "worker.log"

    def run(self, *, variables: dict[str, Any] | None = None, **parameters: Any) -> Any:
        """Schedule a flow run; return its id."""
        with get_client(sync_client=True) as client:
            made = client.create_flow_run_from_deployment(
                self.deployment, parameters=parameters, job_variables=variables or {}
            )
        return made.id

    def cancel(self, flow_run: Any) -> None:
        """Cancel a flow run, as ``prefect flow-run cancel`` does."""
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(flow_run, Cancelling())

    def ended(self, flow_run: Any, state: str) -> str:
        """Wait for the end of a flow run with this state; return the state's message."""
        wait_until(
            lambda: self.server.state(flow_run) in FINAL,
            PATIENCE,
            lambda: [self.server.state(flow_run), *self.server.logs(flow_run), *self.tail()],
            pause=0.5,
        )
        found = self.server.ask(f"flow_runs/{flow_run}")["state"]
        assert found["name"] == state, (found, self.server.logs(flow_run), self.tail())
        return str(found["message"])

    def tail(self) -> list[str]:
        """Return the end of the workers' output."""
        return self.log.read_text().splitlines()[-60:]

    def job(self, flow_run: Any) -> Job:
        """Return the only job of a flow run."""
        [job] = self.place.known(flow_run)
        return job

    def job_ended(self, flow_run: Any, phase: str) -> Job:
        """Wait for the end of the job of a flow run, which is its only one."""
        wait_until(lambda: self.job(flow_run).status.finished, PATIENCE, pause=0.5)
        found = self.job(flow_run)
        assert found.status.phase == phase, found.status
        return found

    def waiting(self, flow_run: Any) -> Job:
        """Wait until the flow waits for its file; return its job."""
        wait_until(
            lambda: self._waits(flow_run),
            PATIENCE,
            lambda: [*self.server.logs(flow_run), *self.tail()],
            pause=0.5,
        )
        return self.job(flow_run)

    def _waits(self, flow_run: Any) -> bool:
        logs = self.server.logs(flow_run)
        assert self.server.state(flow_run) not in FINAL, logs
        return any("the sum is" in line for line in logs)


FINAL = ("Completed", "Failed", "Crashed", "Cancelled")


def created(pool: Pool, **defaults: Any) -> Pool:
    """Create the work pool with these defaults of its variables, and the deployment."""
    template = DaskJobWorker.get_default_base_job_template()
    # Dask finds the flow's tasks by their module.
    path = ":".join([*defaults.pop("path", ()), str(HERE)])
    defaults["env"] = {"TEAM_KEY": TEAM_KEY, "PYTHONPATH": path}
    for name, value in defaults.items():
        if name == "manifest":
            value(template["job_configuration"]["job_manifest"])
        else:
            template["variables"]["properties"][name]["default"] = value
    with get_client(sync_client=True) as client:
        client.create_work_pool(
            WorkPoolCreate(name=pool.name, type="daskjob", base_job_template=template)
        )
    found: Any = Flow.from_source(source=str(HERE), entrypoint="deployed.py:squares")
    options: dict[str, Any] = {"build": False, "push": False, "print_next_steps": False}
    made = found.deploy(pool.name, work_pool_name=pool.name, **options)
    return Pool(**{**vars_of(pool), "deployment": made})


def vars_of(pool: Pool) -> dict[str, Any]:
    return {name: getattr(pool, name) for name in Pool.__dataclass_fields__}


@contextmanager
def of_cluster(
    server: Server, cluster: Place, kubernetes: Kubernetes, folder: Path
) -> Iterator[Pool]:
    """Return a pool whose jobs run on a cluster; its pods have the packages of this process."""
    address, port = address_for_pods(kubernetes), free_port()
    target = str(urlsplit(server.url).port)
    command = [sys.executable, "-m", "tests.orchestrators.prefect.relay"]
    relay = subprocess.Popen([*command, address, str(port), target], cwd=ROOT)
    try:
        kubectl = Kubectl(kubernetes, cluster.fields["namespace"])
        url = f"http://{address}:{port}/api"
        pool = Pool(server, cluster, folder.name, url, folder, kubectl)
        spec = cluster.fields["manifest"]["spec"]
        yield created(
            pool,
            n_workers=0,
            image=spec["job"]["spec"]["containers"][0]["image"],
            namespace=cluster.fields["namespace"],
            kubeconfig=cluster.fields["kubeconfig"],
            command="python -m prefect flow-run execute",
            worker_resources=LARGER,
            runner_resources=LARGER,
            manifest=with_packages,
            path=PATHS.values(),
        )
    finally:
        relay.terminate()
        relay.wait()


def with_packages(manifest: dict[str, Any]) -> None:
    """Let all pods have the packages of this process, in place: the image has no Prefect."""
    spec = manifest["spec"]
    cluster = spec["cluster"]["spec"]
    for pod in (spec["job"], cluster["scheduler"], cluster["worker"]):
        pod["spec"]["volumes"] = [{"name": n, "hostPath": {"path": p}} for n, p in PATHS.items()]
        [container] = pod["spec"]["containers"]
        container["securityContext"] = {"runAsUser": 0}
        container["volumeMounts"] = [
            {"name": name, "mountPath": path, "readOnly": True} for name, path in PATHS.items()
        ]
        container["env"] = [
            {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
            {"name": "HOME", "value": "/tmp"},
            {"name": "PREFECT_HOME", "value": "/tmp/prefect"},
        ]


def address_for_pods(kubernetes: Kubernetes) -> str:
    """Return the address of this machine that it reaches the cluster from, and pods reach it at."""
    config = json.loads(kubernetes.kubectl("config", "view", "--minify", "--output=json"))
    server = urlsplit(config["clusters"][0]["cluster"]["server"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((server.hostname, server.port or 443))
        return str(probe.getsockname()[0])


def of_machine(server: Server, machine: Place, folder: Path) -> Pool:
    """Return a pool whose jobs run on this machine."""
    pool = Pool(server, machine, folder.name, server.url, folder)
    return created(pool, n_workers=0, local=True)
