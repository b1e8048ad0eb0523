"""The clients of clusters, as programs have them: both forms, on a real API server."""

from __future__ import annotations

import gc
import inspect
from pathlib import Path
from typing import Any

import pytest

import daskjob
from daskjob.core.errors import Conflict, Invalid, NotFound, Timeout
from daskjob.submit import sync
from daskjob.submit.sync import WouldBlock
from tests.kubernetes.given import Cluster
from tests.waiting import wait_until

POD = {"spec": {"containers": [{"name": "main", "image": "none"}]}}
MANIFEST: dict[str, Any] = {
    "apiVersion": "kubernetes.dask.org/v1",
    "kind": "DaskCluster",
    "metadata": {"name": "mine"},
    "spec": {"worker": {**POD, "replicas": 2}, "scheduler": {**POD, "service": {}}},
}


def public(kind: type) -> dict[str, list[str]]:
    return {
        name: list(inspect.signature(found).parameters)
        for name, found in inspect.getmembers(kind, callable)
        if not name.startswith("_")
    }


def test_blocking_client_has_the_methods_of_the_other_one() -> None:
    ours, others = public(daskjob.ClusterClient), public(daskjob.AsyncClusterClient)
    within_a_loop = {"api", "gone", "job_ended"}  # for KubeCluster and commands
    assert ours == {k: v for k, v in others.items() if k not in within_a_loop}


def test_cluster_is_created_scaled_and_deleted(with_crds: Cluster, namespace: str) -> None:
    with daskjob.ClusterClient(namespace, kubeconfig=str(with_crds.kubeconfig)) as clusters:
        assert clusters.namespace() == namespace
        made = clusters.create(MANIFEST)
        with pytest.raises(Conflict):
            clusters.create(MANIFEST)
        with pytest.raises(Invalid):
            clusters.create({**MANIFEST, "metadata": {"name": "x"}, "spec": {}})
        clusters.scale(made, 5)
        found = clusters.get("mine")
        assert found.manifest["spec"]["worker"]["replicas"] == 5
        with pytest.raises(Timeout):
            clusters.wait(found, timeout_seconds=0.3)
        with pytest.raises(Timeout), clusters.connected(found, timeout_seconds=0.3):
            pass
        clusters.delete(found)
        with pytest.raises(NotFound):
            clusters.get("mine")
        assert clusters.list() == ()


async def test_blocking_client_inside_an_event_loop_names_the_other_form(tmp_path: Path) -> None:
    client = daskjob.ClusterClient(kubeconfig=str(tmp_path))
    with pytest.raises(WouldBlock, match=r"use AsyncClusterClient\.list"):
        client.list()


def test_client_that_nobody_closes_is_closed_once_it_is_collected(
    with_crds: Cluster, namespace: str
) -> None:
    clusters = daskjob.ClusterClient(namespace, kubeconfig=str(with_crds.kubeconfig))
    assert clusters.list() == ()
    session = sync.bridge().call(clusters._client.api)._session
    assert session is not None
    assert not session.closed
    del clusters
    gc.collect()
    wait_until(lambda: session.closed, 5)
