"""A pod that only lost its label is no missing pod, whichever pass looks for it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from daskjob.backends.kubernetes.backend import KubernetesBackend
from daskjob.core import names
from daskjob.core.errors import AnswerPending, ChangeDenied, DaskJobError, NotFound
from daskjob.core.manifests import Key, Manifest, ObjectRef, metadata
from daskjob.core.observed import (
    ObservedCluster,
    ObservedGroup,
    ObservedJob,
    Platform,
)
from tests.core import manifests
from tests.kubernetes.given import Cluster, pod, seen, side_of
from tests.waiting import until

JOB = Key(names.Kind.JOB, "default", "sums")
CLUSTER = Key(names.Kind.CLUSTER, "default", "sums")
GROUP = Key(names.Kind.GROUP, "default", "sums-default")
RUNS: Manifest = {
    "phase": "Running",
    "podIP": "10.0.0.1",
    "conditions": [{"type": "Ready", "status": "True"}],
    "containerStatuses": [{"name": "main", "state": {"running": {}}, "containerID": "c"}],
}


class Server:
    """An API server with some objects, as far as these tests need one."""

    def __init__(self) -> None:
        self.objects: dict[str, Manifest] = {}
        self.requests: list[str] = []
        self.version = 100
        self.denies: DaskJobError | None = None

    async def get(self, ref: ObjectRef, *, metadata_only: bool = False) -> bytes:
        del metadata_only
        self.requests.append(f"get {ref.name}")
        return msgspec.json.encode(self._found(ref))

    async def patch(self, ref: ObjectRef, body: Manifest, *, metadata_only: bool = False) -> bytes:
        del metadata_only
        self.requests.append(f"patch {ref.name}")
        if self.denies is not None:
            raise self.denies
        meta = metadata(self._found(ref))
        meta["labels"].update(body["metadata"]["labels"])
        return msgspec.json.encode(self.newer(ref.name))

    async def warnings(self, ref: ObjectRef) -> bytes:
        del ref
        return b"{}"

    def newer(self, name: str) -> Manifest:
        self.version += 1
        metadata(self.objects[name])["resourceVersion"] = str(self.version)
        return self.objects[name]

    def _found(self, ref: ObjectRef) -> Manifest:
        if ref.name not in self.objects:
            raise NotFound(str(ref))
        return self.objects[ref.name]


class Given:
    """A job with its cluster, two groups' worth of pods, and a backend that sees them."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 12, tzinfo=UTC)
        self.server = Server()
        self.woken: list[tuple[Key, float]] = []
        api: Any = self.server
        self.backend = KubernetesBackend(api, Platform(), clock=lambda: self.now)
        self.backend.subscribe(lambda key, within=0.0: self.woken.append((key, within)))
        job = manifests.job()
        job["status"] = {"jobStatus": "Running", "jobRunnerPodName": "sums-runner"}
        self.put(job)
        self.put(_owned(manifests.cluster("sums"), "DaskJob", "uid-sums"), "uid-cluster")
        self.put(_owned(manifests.group("sums-default", "sums"), "DaskCluster", "uid-cluster"))
        self.pod("sums-runner", "DaskJob", "uid-sums", "job-runner")
        self.pod("sums-scheduler", "DaskCluster", "uid-cluster", "scheduler")
        for number in range(3):
            self.pod(f"w{number}", "DaskWorkerGroup", "uid-sums-default", "worker")

    def put(self, manifest: Manifest, uid: str = "", **status: Any) -> None:
        self.server.version += 1
        self.backend.cache.put(seen(manifest, self.server.version, uid, **status))

    def pod(self, name: str, kind: str, uid: str, component: str) -> None:
        found = _owned(pod(name, "default", uid=f"uid-{name}"), kind, uid)
        metadata(found)["labels"][names.LABEL_COMPONENT] = component
        env = [{"name": names.ENV_AGENT_TOKEN, "value": "t"}]
        found["spec"]["containers"][0]["env"] = env
        self.server.objects[name] = {**found, "status": RUNS}
        self.put(found, **RUNS)

    def lose_label(self, name: str) -> None:
        """Remove a pod's label: to the watch it is deleted."""
        found = self.server.newer(name)
        del metadata(found)["labels"][names.LABEL_CLUSTER_NAME]
        item = self.backend.cache.get("Pod", "default", name)
        assert item is not None
        self.backend.cache.remove(item.ref, self.server.version)

    def lose(self, name: str) -> None:
        """Delete a pod at once."""
        self.lose_label(name)
        del self.server.objects[name]

    def finish(self) -> None:
        """Let the job have ended, while its runner still runs."""
        job = manifests.job()
        job["status"] = {"jobStatus": "Failed", "endTime": "2026-01-01T12:00:00Z"}
        self.put(job)


def _owned(manifest: Manifest, kind: str, uid: str) -> Manifest:
    owner = {"kind": kind, "name": "sums", "uid": uid, "controller": True}
    metadata(manifest)["ownerReferences"] = [owner]
    return manifest


async def test_a_group_that_may_shrink_looks_for_the_scheduler_itself() -> None:
    """Without a scheduler there is no data, and any worker may go."""
    given = Given()
    given.lose_label("sums-scheduler")
    with pytest.raises(AnswerPending):
        await given.backend.observe(GROUP)
    assert given.backend.cache.get("Pod", "default", "sums-scheduler") is not None
    await given.backend.close()


async def test_a_scheduler_that_is_gone_is_looked_for_once() -> None:
    given = Given()
    given.lose("sums-scheduler")
    for _ in range(3):
        observed = await given.backend.observe(GROUP)
        assert isinstance(observed, ObservedGroup)
        assert observed.scheduler is None
    assert len(given.server.requests) == 1


async def test_a_scheduler_that_came_back_and_vanished_is_looked_for_again() -> None:
    given = Given()
    given.lose("sums-scheduler")
    await given.backend.observe(GROUP)
    given.pod("sums-scheduler", "DaskCluster", "uid-cluster", "scheduler")
    given.lose_label("sums-scheduler")
    with pytest.raises(AnswerPending):
        await given.backend.observe(GROUP)
    await given.backend.close()


@pytest.mark.parametrize("finished", [False, True])
async def test_a_runner_without_its_label_is_seen_by_its_job_also_after_the_end(
    finished: bool,
) -> None:
    given = Given()
    if finished:
        given.finish()
    given.lose_label("sums-runner")
    observed = await given.backend.observe(JOB)
    assert isinstance(observed, ObservedJob)
    assert [runner.ref.name for runner in observed.runners] == ["sums-runner"]


async def test_a_runner_without_its_label_is_seen_by_its_cluster() -> None:
    """Its cluster would look idle, and be deleted."""
    given = Given()
    given.lose_label("sums-runner")
    observed = await given.backend.observe(CLUSTER)
    assert isinstance(observed, ObservedCluster)
    assert observed.in_use


async def test_a_label_that_cannot_be_restored_is_tried_again_later_and_holds_nothing_up() -> None:
    given = Given()
    given.server.denies = ChangeDenied("denied by a policy")
    given.lose_label("w0")
    given.lose_label("w1")
    given.woken.clear()
    observed = await given.backend.observe(GROUP)
    assert isinstance(observed, ObservedGroup)
    assert [worker.ref.name for worker in observed.workers] == ["w2"]
    assert given.woken == [(GROUP, 2.0)] * 2
    await given.backend.observe(GROUP)
    assert given.server.requests == ["patch w0", "patch w1"]
    given.server.denies = None
    given.now += timedelta(seconds=2)
    with pytest.raises(AnswerPending):
        await given.backend.observe(GROUP)
    assert given.backend.cache.get("Pod", "default", "w0") is not None
    assert given.backend._missing_pods._rejections == {}
    await given.backend.close()


async def test_nothing_is_recorded_of_an_owner_that_is_gone() -> None:
    given = Given()
    missing = given.backend._missing_pods
    given.lose_label("w0")
    for kind, name in (("DaskWorkerGroup", "sums-default"), ("DaskCluster", "sums")):
        item = given.backend.cache.get(kind, "default", name)
        assert item is not None
        given.backend.cache.remove(item.ref)
    await missing.look_for(ObjectRef("DaskCluster", "default", "sums", "uid-cluster"), "sums", "x")
    assert (missing._vanished, missing._looked_for, missing._rejections) == ({}, {}, {})


# On a real Kubernetes


async def test_a_scheduler_without_its_label_is_found_by_the_pass_that_may_remove_workers(
    with_crds: Cluster, namespace: str
) -> None:
    async with side_of(with_crds) as found:
        others = found.others.api
        cluster, group = manifests.cluster("sums"), manifests.group("sums-more", "sums", 0)
        for item in (cluster, group):
            metadata(item)["namespace"] = namespace
        uids = [
            metadata(msgspec.json.decode(await others.create(i)))["uid"] for i in (cluster, group)
        ]
        for name, kind, uid in (
            ("sums-scheduler", "DaskCluster", uids[0]),
            ("sums-worker", "DaskWorkerGroup", uids[1]),
        ):
            item = _owned(pod(name, namespace), kind, uid)
            metadata(item)["ownerReferences"][0]["apiVersion"] = cluster["apiVersion"]
            metadata(item)["ownerReferences"][0]["name"] = "sums" if uid == uids[0] else "sums-more"
            await others.create(item)
        backend = KubernetesBackend(found.api, Platform(), [namespace])
        life = asyncio.create_task(backend.run())
        await backend.synced(namespace)

        def pods() -> set[str]:
            return {item.ref.name for item in backend.cache.all("Pod")}

        await until(lambda: pods() == {"sums-scheduler", "sums-worker"})
        await found.others.label_ours("sums-scheduler", namespace, None)
        await until(lambda: pods() == {"sums-worker"})
        observed = await backend.observe(Key(names.Kind.GROUP, namespace, "sums-more"))
        assert isinstance(observed, ObservedGroup)
        assert observed.scheduler is not None
        left = await found.others.see(namespace)
        assert {name.split("=")[0] for name in left} == {"sums-scheduler", "sums-worker"}
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        await backend.close()
