"""Objects left by dask-kubernetes: real Deployments, and its finalizer (design §2.4)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cluster.fake_nodes import fake_placement
from tests.cluster.plugin import Kubernetes
from tests.operator.history import Manifest
from tests.operator.invariants import about
from tests.operator.jobs import condition, container, fake_job, pod_spec
from tests.operator.staged import Results, Stage, Story, assert_told, side_by_side

FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"
HANDLED = {"kopf.zalando.org/last-handled-configuration": "{}"}
DASK = "/apis/kubernetes.dask.org/v1"


def left(kind: str, name: str, **spec: Any) -> Manifest:
    """An object of one of our kinds, as dask-kubernetes leaves it."""
    meta = {"name": name, "annotations": HANDLED, "finalizers": [FINALIZER, "example.com/theirs"]}
    return {"apiVersion": "kubernetes.dask.org/v1", "kind": kind, "metadata": meta, "spec": spec}


async def told_of(stage: Stage, plural: str, name: str, status: Manifest) -> None:
    """Write a status as dask-kubernetes did."""
    path = f"{DASK}/namespaces/{stage.server.namespace}/{plural}/{name}/status"
    merge = {"Content-Type": "application/merge-patch+json"}
    await stage.server.ask("PATCH", path, json={"status": status}, headers=merge)


def scheduler_deployment(cluster: Manifest) -> Manifest:
    """The Deployment of a cluster's scheduler, as dask-kubernetes creates it."""
    meta = cluster["metadata"]
    labels = {"dask.org/cluster-name": meta["name"], "dask.org/component": "scheduler"}
    owner = {
        "apiVersion": cluster["apiVersion"],
        "kind": "DaskCluster",
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    name = f"{meta['name']}-scheduler"
    pod = {
        "metadata": {"labels": labels},
        "spec": {**pod_spec(container("none", "scheduler")), **fake_placement()},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": pod},
    }


def finalizers(stage: Stage, kind: str, name: str) -> list[str]:
    """Return an object's finalizers; none before the watch has shown the object."""
    found = stage.server.objects.get((kind, name)) or {"metadata": {}}
    return list(found["metadata"].get("finalizers") or [])


async def cluster(stage: Stage) -> None:
    """Its cluster reports that it is not managed, until it is deleted and created again."""
    server = stage.server
    spec = fake_job()["spec"]["cluster"]["spec"]
    made = await server.create("DaskCluster", left("DaskCluster", "old", **spec))
    await told_of(stage, "daskclusters", "old", {"phase": "Running"})
    await server.create("Deployment", scheduler_deployment(made))
    await server.until(lambda: old_pods(stage))
    await stage.operator.start()

    await server.until(lambda: finalizers(stage, "DaskCluster", "old") == ["example.com/theirs"])
    await server.until(lambda: why(stage) == "MadeByDaskKubernetes")
    await stage.at_rest(3.0)
    told = condition(server.objects["DaskCluster", "old"], "SchedulerReady")
    assert "delete the DaskCluster and create it again" in told["message"]
    assert {about(request) for request in stage.writes} == {
        "patch daskclusters old",
        "patch daskclusters/status old",
    }
    assert not [key for key in server.objects if key[0] in ("Service", "DaskWorkerGroup")]

    theirs: Manifest = {"metadata": {"finalizers": None}}
    await server.patch("DaskCluster", "old", theirs)
    await server.delete("DaskCluster", "old")
    await server.until(lambda: ("DaskCluster", "old") not in server.objects)
    await server.create(
        "DaskCluster", {**left("DaskCluster", "old", **spec), "metadata": {"name": "old"}}
    )
    await server.until(lambda: ("Pod", "old-scheduler") in server.objects)
    assert not old_pods(stage)
    await server.until(lambda: why(stage) == "Answers")


def old_pods(stage: Stage) -> list[str]:
    """Return the pods of the Deployment."""
    return [
        n for kind, n in stage.server.objects if kind == "Pod" and n.startswith("old-scheduler-")
    ]


def why(stage: Stage) -> str:
    """Return the reason of the cluster's condition."""
    found = stage.server.objects.get(("DaskCluster", "old"), {})
    return str(condition(found, "SchedulerReady").get("reason", ""))


async def jobs(stage: Stage) -> None:
    """A job that it finished loses only its finalizer; its status is not written."""
    server = stage.server
    spec = fake_job()["spec"]
    await server.create("DaskJob", left("DaskJob", "done", **spec))
    status = {"jobStatus": "Failed", "clusterName": "done", "jobRunnerPodName": "done-runner"}
    await told_of(stage, "daskjobs", "done", status)
    group = {"cluster": "gone", "worker": spec["cluster"]["spec"]["worker"]}
    await server.create("DaskWorkerGroup", left("DaskWorkerGroup", "gone-default", **group))
    await stage.operator.start()
    freed = (("DaskJob", "done"), ("DaskWorkerGroup", "gone-default"))
    await server.until(lambda: all(finalizers(stage, *k) == ["example.com/theirs"] for k in freed))
    await stage.at_rest(3.0)
    assert server.objects["DaskJob", "done"]["status"] == status
    assert not [key for key in server.objects if key[0] == "Pod"]
    assert {about(r) for r in stage.writes if " done" in about(r)} == {"patch daskjobs done"}
    for kind, name in freed:
        await server.patch(kind, name, {"metadata": {"finalizers": None}})


STORIES: dict[str, Story] = {"cluster": cluster, "jobs": jobs}


@pytest.fixture(scope="module")
def results(with_crds: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The result of each story."""
    with_crds.provider.fake_nodes(2)
    folder = tmp_path_factory.mktemp("dask-kubernetes")
    return asyncio.run(side_by_side(STORIES, with_crds.kubeconfig, folder, at_once=2))


@pytest.mark.parametrize("story", STORIES)
def test_its_finalizer_is_removed_and_its_objects_are_not_changed_otherwise(
    story: str, results: Results
) -> None:
    assert_told(results[story])
