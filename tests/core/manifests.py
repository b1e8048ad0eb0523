"""Small, valid manifests for tests; every call returns a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from daskjob.core.manifests import Manifest
from daskjob.core.spec import DaskCluster, DaskJob, DaskWorkerGroup
from daskjob.core.spec import read_cluster as _read_cluster
from daskjob.core.spec import read_group as _read_group
from daskjob.core.spec import read_job as _read_job

IMAGE = "ghcr.io/dask/dask:latest"
DOCUMENTED = Path(__file__).parents[1] / "data" / "documented"


def container(name: str, *args: str, **more: Any) -> Manifest:
    """One container."""
    return {"name": name, "image": IMAGE, "args": list(args), **more}


def pod(*containers: Manifest, **more: Any) -> Manifest:
    """A PodSpec."""
    return {"containers": list(containers), **more}


def cluster_spec(replicas: int | None = 2, **more: Any) -> Manifest:
    """The spec of a DaskCluster: a scheduler and a default group."""
    worker: Manifest = {"spec": pod(container("worker", "dask-worker"))}
    if replicas is not None:
        worker["replicas"] = replicas
    return {
        "scheduler": {"spec": pod(container("scheduler", "dask-scheduler"))},
        "worker": worker,
        **more,
    }


def job(name: str = "sums", *, runner: Manifest | None = None, **spec: Any) -> Manifest:
    """A DaskJob; ``runner`` is merged into the runner's PodSpec, the rest into the spec."""
    body: Manifest = {"job": {"spec": {**pod(container("job", "python")), **(runner or {})}}}
    if "clusterRef" not in spec:
        body["cluster"] = {"spec": cluster_spec()}
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {**body, **spec},
    }


def cluster(name: str = "simple", **spec: Any) -> Manifest:
    """A DaskCluster; ``spec`` is merged into its spec."""
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {**cluster_spec(), **spec},
    }


def group(name: str = "simple-more", cluster: str = "simple", replicas: int = 2) -> Manifest:
    """A DaskWorkerGroup."""
    worker = {"replicas": replicas, "spec": pod(container("worker", "dask-worker"))}
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"cluster": cluster, "worker": worker},
    }


def autoscaler(name: str = "simple", **spec: Any) -> Manifest:
    """A DaskAutoscaler; ``spec`` is merged into its spec."""
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskAutoscaler",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"cluster": "simple", "minimum": 1, "maximum": 10, **spec},
    }


def documented(name: str) -> Manifest:
    """A manifest as the documentation of dask-kubernetes prints it."""
    found: Manifest = yaml.safe_load((DOCUMENTED / f"{name}.yaml").read_text())
    return found


def read_job(manifest: Manifest) -> DaskJob:
    """The job of a manifest that has no mistakes."""
    errors: list[Any] = []
    found = _read_job(manifest, errors)
    assert errors == []
    return found


def read_cluster(manifest: Manifest) -> DaskCluster:
    """The cluster of a manifest that has no mistakes."""
    errors: list[Any] = []
    found = _read_cluster(manifest, errors)
    assert errors == []
    return found


def read_group(manifest: Manifest) -> DaskWorkerGroup:
    """The group of a manifest that has no mistakes."""
    errors: list[Any] = []
    found = _read_group(manifest, errors)
    assert errors == []
    return found
