"""Shared code of the operator benchmarks: operators as processes, jobs on fake nodes, figures.

Not a benchmark itself. Each benchmark starts its own cluster, and stops it at the end.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.cluster.access import Access
from tests.cluster.environments import DASK_KUBERNETES, environment
from tests.cluster.fake_nodes import ENDS_AFTER, fake_placement
from tests.cluster.providers import Native

ROOT = Path(__file__).resolve().parents[1]

PATIENCE_SECONDS = 900.0
TICKS = os.sysconf("SC_CLK_TCK")
Manifest = dict[str, Any]


@dataclass
class Cluster:
    """A native cluster with fake nodes and the project's CRDs."""

    native: Native
    _made: list[str] = field(default_factory=list)

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """Run kubectl; return its output."""
        done = subprocess.run(
            [*self.native.command, *words], input=stdin, text=True, capture_output=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(words)}: {done.stderr}")
        return done.stdout

    @cached_property
    def access(self) -> Access:
        """Requests to its API server that cost this process next to nothing."""
        return Access(self.native.command)

    def close(self) -> None:
        """Stop everything that was started in addition to the cluster."""
        if "access" in self.__dict__:
            self.access.close()

    def namespace(self) -> str:
        """Create a namespace that is ready for pods."""
        name = f"benchmark-{uuid.uuid4().hex[:6]}"
        self.kubectl("create", "namespace", name)
        there = ["--for=create", "--timeout=30s", "serviceaccount/default"]
        self.kubectl("wait", "--namespace", name, *there)
        return name

    def count(self, namespace: str, kind: str) -> int:
        """Return the number of objects of a kind, or of several (``daskclusters,pods``)."""
        kinds = kind.split(",")
        return sum(len(self.access.items(one, namespace)) for one in kinds)


@contextlib.contextmanager
def benchmark_cluster(fake_nodes: int = 5) -> Iterator[Cluster]:
    """Start a cluster, and stop it at the end of the block."""
    native = Native("benchmark")
    try:
        with contextlib.closing(Cluster(native)) as cluster:
            folder = str(ROOT / "operator-chart" / "crds")
            cluster.kubectl("apply", "--server-side", "-f", folder)
            cluster.kubectl("wait", "-f", folder, "--for=condition=Established", "--timeout=30s")
            if fake_nodes:
                native.fake_nodes(fake_nodes)
            yield cluster
    finally:
        native.stop()


def fake_job(name: str, workers: int, ends_after: str = "0s") -> Manifest:
    """Return a job for fake nodes; its runner ends after this time, or never if that is empty."""
    container = {"name": "main", "image": "none", "args": ["true"]}
    pods = {"containers": [container], "terminationGracePeriodSeconds": 0, **fake_placement()}
    ends = {"annotations": {ENDS_AFTER: ends_after}} if ends_after else {}
    ports = [{"name": "tcp-comm", "port": 8786}, {"name": "http-dashboard", "port": 8787}]
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": name},
        "spec": {
            "job": {"metadata": ends, "spec": pods},
            "cluster": {
                "spec": {
                    "worker": {"replicas": workers, "spec": pods},
                    # dask-kubernetes needs an explicit Service.
                    "scheduler": {"spec": pods, "service": _service(name, ports)},
                }
            },
        },
    }


def _service(name: str, ports: list[Manifest]) -> Manifest:
    selector = {"dask.org/cluster-name": name, "dask.org/component": "scheduler"}
    return {"type": "ClusterIP", "selector": selector, "ports": ports}


def create(cluster: Cluster, namespace: str, jobs: Sequence[Manifest]) -> None:
    """Create objects of daskjob's kinds, one after the other."""
    for job in jobs:
        path = cluster.access.path(job["kind"], namespace)
        cluster.access.request("POST", path, body=job)


def until(cluster: Cluster, namespace: str, word: str, jobs: int, every: float = 1.0) -> None:
    """Wait until this number of jobs have this ``jobStatus``."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        there = cluster.access.items("daskjobs", namespace)
        found = [job for job in there if job.get("status", {}).get("jobStatus") == word]
        if len(found) >= jobs:
            return
        if time.monotonic() > give_up:
            raise TimeoutError(f"{len(found)} of {jobs} jobs are {word}")
        time.sleep(every)


def until_cleaned_up(cluster: Cluster, namespace: str, jobs: int) -> None:
    """Wait until only the jobs' runners are left."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while cluster.count(namespace, "daskclusters,pods") > jobs:
        if time.monotonic() > give_up:
            raise TimeoutError("clusters of finished jobs still exist")
        time.sleep(1.0)


class Operator:
    """An operator process for one namespace."""

    def __init__(self, name: str, command: list[str], cluster: Cluster, cpus: str = "") -> None:
        self.name = name
        log = (cluster.native.cluster.folder / f"{name}.log").open("ab")
        pinned = ["taskset", "--cpu-list", cpus] if cpus else []
        environment = {k: v for k, v in os.environ.items() if not k.startswith("KUBE")}
        environment["KUBECONFIG"] = str(cluster.native.kubeconfig)
        self._process = subprocess.Popen(
            [*pinned, *command], stdout=log, stderr=log, env=environment
        )

    def cpu_seconds(self) -> float:
        """Return the CPU time that it has used so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_mib(self) -> float:
        """Return its resident memory, in MiB."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

    def stop(self) -> None:
        """Stop it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def daskjob_operator(cluster: Cluster, namespace: str, cpus: str = "") -> Iterator[Operator]:
    """Run this checkout's operator."""
    command = [sys.executable, "-m", "daskjob.controller", f"--namespace={namespace}"]
    with _running(Operator("daskjob", command, cluster, cpus)) as operator:
        yield operator


@contextlib.contextmanager
def dask_kubernetes_operator(cluster: Cluster, namespace: str) -> Iterator[Operator]:
    """Run the operator of dask-kubernetes, as its chart does."""
    module = ["--module=dask_kubernetes.operator.controller", "--standalone"]
    command = [
        str(environment(DASK_KUBERNETES) / "kopf"),
        "run",
        *module,
        f"--namespace={namespace}",
    ]
    with _running(Operator("dask-kubernetes", command, cluster)) as operator:
        yield operator


@contextlib.contextmanager
def _running(operator: Operator) -> Iterator[Operator]:
    try:
        yield operator
    finally:
        operator.stop()
