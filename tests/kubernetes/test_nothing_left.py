"""Nothing of deleted clusters is left in memory."""

from __future__ import annotations

import json
from collections.abc import Sized

import pytest

from daskjob.core.manifests import Manifest, ObjectRef
from tests.core.manifests import cluster as cluster_manifest
from tests.kubernetes.given import Cluster, Kubectl
from tests.kubernetes.passing import Passing, passing
from tests.waiting import until

CLUSTERS = 40
#: Garbage collection sends 20 requests a second.
GONE_SECONDS = 90.0
#: Structures that discard by age only: deleted objects, and clusters that others gave way to.
BY_TIME = {"cache._gone", "concurrency._until"}


@pytest.fixture
def cluster(with_crds: Cluster) -> Cluster:
    return with_crds


def waiting(name: str, namespace: str) -> Manifest:
    """Return a cluster whose pods wait for a missing Kubernetes scheduler."""
    manifest = cluster_manifest(name)
    manifest["metadata"]["namespace"] = namespace
    for part in ("scheduler", "worker"):
        manifest["spec"][part]["spec"]["schedulerName"] = "nobody"
    return manifest


def remembered(found: Passing) -> dict[str, int]:
    """Return the sizes of the structures of the passes and of the layers below them."""
    backend, writer = found.backend, found.backend._writer
    parts = {
        "passes": found.passes,
        "queue": found.passes.queue,
        "concurrency": found.passes._concurrency,
        "backend": backend,
        "cache": backend.cache,
        "agents": backend.agents,
        "writer": writer,
        "own": writer.api,
        "own writes": writer.api.unsettled,
        "retirements": backend._retirements,
        "missing pods": backend._missing_pods,
        "pod warnings": backend._pod_warnings,
        "rejections": writer.rejections,
        "rejected statuses": writer.rejected_statuses,
    }
    sizes = {
        f"{part}.{name}": len(value)
        for part, owner in parts.items()
        for name, value in vars(owner).items()
        if isinstance(value, Sized) and not isinstance(value, str)
    }
    return {name: size for name, size in sizes.items() if name not in BY_TIME}


async def test_deleted_clusters_leave_nothing_behind(
    cluster: Cluster, kubectl: Kubectl, namespace: str
) -> None:
    async with passing(cluster, namespace) as found:
        await found.at_rest()
        before = remembered(found)
        for number in range(CLUSTERS):
            await found.others.create(waiting(f"c{number}", namespace))
        # Each has a cluster, a group, a scheduler, two workers and a Service.
        await until(lambda: len(found.backend.cache) == 6 * CLUSTERS)
        assert sum(remembered(found).values()) > sum(before.values()) + 6 * CLUSTERS
        kubectl("delete", "daskclusters", "--all", "--wait=false")
        await until(lambda: len(found.backend.cache) == 0, GONE_SECONDS)
        await found.at_rest()
        assert remembered(found) == before, json.dumps(remembered(found), indent=1)


async def test_deleted_objects_are_discarded_even_without_further_deletions(
    cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daskjob.backends.kubernetes.watching.cache.REMEMBERED_SECONDS", 0.3)
    monkeypatch.setattr("daskjob.backends.kubernetes.backend.FORGET_SECONDS", 0.1)

    async with passing(cluster, namespace) as found:
        cache = found.backend.cache
        cache.remove(ObjectRef("Pod", namespace, "one", "uid-1"))
        assert cache.knows("uid-1", 5)
        await until(lambda: not cache.knows("uid-1", 5))
