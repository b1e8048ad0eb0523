"""Objects of dask-kubernetes in a world, as it creates them, with its finalizer.

These include its Deployments with their ReplicaSets and pods: they are not watched, but garbage
collection follows them.
"""

from __future__ import annotations

from typing import Any

from daskjob.backends.fake import FakeBackend
from daskjob.core import names
from daskjob.core.manifests import Key, Manifest, metadata
from tests.core import manifests

FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"
HANDLED = {"kopf.zalando.org/last-handled-configuration": "{}"}


def left(
    kind: str,
    name: str,
    owner: Manifest | None = None,
    *,
    component: str = "",
    cluster: str = "simple",
    **body: Any,
) -> Manifest:
    """Return an object of dask-kubernetes, adopted as kopf adopts."""
    labels = {names.LABEL_CLUSTER_NAME: cluster, names.LABEL_COMPONENT: component}
    meta: Manifest = {"name": name, "namespace": "default", "labels": labels}
    meta["annotations"] = dict(HANDLED)
    if owner is not None:
        reference = {key: metadata(owner)[key] for key in ("name", "uid")}
        reference |= {"apiVersion": owner["apiVersion"], "kind": owner["kind"]}
        meta["ownerReferences"] = [{**reference, "controller": True, "blockOwnerDeletion": True}]
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": meta, **body}


def put(world: FakeBackend, manifest: Manifest) -> Manifest:
    """Create an object in the world, and return it as stored."""
    key = world.submit(manifest)
    found = world.store.get(key)
    assert found is not None
    return found


def old_cluster(
    world: FakeBackend,
    name: str = "simple",
    *,
    phase: str | None = "Running",
    owner: Manifest | None = None,
    workers: int = 2,
) -> Key:
    """Create a running cluster of dask-kubernetes with all its objects."""
    manifest = manifests.cluster(name, **manifests.cluster_spec(workers))
    meta = left("DaskCluster", name, owner, cluster=name)["metadata"]
    manifest["metadata"] = {**meta, "finalizers": [FINALIZER]}
    if phase is not None:
        manifest["status"] = {"phase": phase}
    cluster = put(world, manifest)
    deployment(world, cluster, f"{name}-scheduler", "scheduler", name)
    put(world, left("Service", f"{name}-scheduler", cluster, component="scheduler", cluster=name))
    group = manifests.group(f"{name}-default", name, workers)
    group["metadata"] = left(
        "DaskWorkerGroup", f"{name}-default", cluster, component="workergroup", cluster=name
    )["metadata"]
    owned = put(world, group)
    for index in range(workers):
        deployment(world, owned, f"{name}-default-worker-{index:010x}", "worker", name)
    return Key(names.Kind.CLUSTER, "default", name)


def deployment(
    world: FakeBackend, owner: Manifest, name: str, component: str, cluster: str
) -> Manifest:
    """Create a Deployment with its ReplicaSet and its running pod; return the pod."""
    about: dict[str, Any] = {"component": component, "cluster": cluster}
    top = put(world, left("Deployment", name, owner, **about))
    replicas = put(world, left("ReplicaSet", f"{name}-6d5fcb9b4", top, **about))
    spec = manifests.pod(manifests.container(component))
    pod = put(world, left("Pod", f"{name}-6d5fcb9b4-x2k9p", replicas, spec=spec, **about))
    world.start(pod)
    return pod


def old_job(
    world: FakeBackend,
    name: str = "sums",
    *,
    word: str = "Running",
    restart_policy: str = "Never",
    **status: Any,
) -> Key:
    """Create a job of dask-kubernetes with a running runner and its own cluster."""
    manifest = manifests.job(name)
    manifest["metadata"]["annotations"] = dict(HANDLED)
    manifest["status"] = {
        "jobStatus": word,
        "clusterName": name,
        "jobRunnerPodName": f"{name}-runner",
        "startTime": "2026-01-01T11:59:00Z",
        "endTime": None,
        **status,
    }
    job = put(world, manifest)
    old_cluster(world, name, owner=job)
    spec = manifests.pod(manifests.container("job", "python"), restartPolicy=restart_policy)
    about: dict[str, Any] = {"component": "job-runner", "cluster": name}
    world.start(put(world, left("Pod", f"{name}-runner", job, spec=spec, **about)))
    return Key(names.Kind.JOB, "default", name)
