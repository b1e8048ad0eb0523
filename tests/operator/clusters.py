"""DaskClusters for tests of the operator, and pods that use them."""

from __future__ import annotations

from typing import Any

import yaml

from tests.cluster.fake_nodes import fake_placement
from tests.core.manifests import DOCUMENTED
from tests.operator.jobs import Manifest, container, pod_spec


def documented(name: str, image: str) -> Manifest:
    """A manifest from the documentation, with another image."""
    text = (DOCUMENTED / f"{name}.yaml").read_text().replace("ghcr.io/dask/dask:latest", image)
    found: Manifest = yaml.safe_load(text)
    return found


def cluster(image: str, workers: int, **spec: Any) -> Manifest:
    """A small cluster of real Dask."""
    scheduler = container(image, "scheduler", "dask", "scheduler")
    worker = container(image, "worker", "dask", "worker", "--nthreads", "2")
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": "simple"},
        "spec": {
            "scheduler": {"spec": pod_spec(scheduler)},
            "worker": {"replicas": workers, "spec": pod_spec(worker)},
            **spec,
        },
    }


def fake_cluster(workers: int) -> Manifest:
    """A cluster whose pods are on fake nodes, without any running processes."""
    manifest = cluster("none", workers)
    for part in ("scheduler", "worker"):
        manifest["spec"][part]["spec"].update(fake_placement())
    return manifest


def client_pod(image: str, code: str, **environment: str) -> Manifest:
    """A pod that runs Python code once, as a client of a cluster.

    Look for lines in its log, do not compare all of it: a client of distributed that closes while
    a batched send times out writes a message to stderr.
    """
    env = [{"name": name, "value": value} for name, value in environment.items()]
    client = container(image, "client", "python", "-c", code, env=env)
    spec = pod_spec(client, restartPolicy="Never")
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"}, "spec": spec}


def running(found: Manifest) -> bool:
    """Return whether a cluster's scheduler answers, or a pod runs."""
    return bool(found.get("status", {}).get("phase") == "Running")
