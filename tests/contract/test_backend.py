"""The contract of a backend: what a pass may rely on, checked in every world."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import pytest

from daskjob.core.decision import Patch
from daskjob.core.errors import CreateRejected, RejectionKind
from daskjob.core.manifests import Key, Manifest, ObjectRef, metadata, object_ref
from daskjob.core.observed import ObservedAutoscaler, ObservedCluster, ObservedJob
from daskjob.core.pods import PodFacts
from tests.cluster.plugin import fresh_namespace
from tests.contract.kubernetes_world import KubernetesWorld
from tests.contract.local_world import LocalWorld
from tests.contract.worlds import ContractWorld, FakeWorld
from tests.core.manifests import autoscaler, cluster, container, group, job, pod
from tests.waiting import until

WORLDS: dict[str, Callable[[], ContractWorld]] = {"fake": FakeWorld, "local": LocalWorld}


@pytest.fixture(params=[*sorted(WORLDS), "kubernetes"])
def world(request: pytest.FixtureRequest) -> Iterator[AbstractAsyncContextManager[ContractWorld]]:
    """A world of each kind, open during the test and closed after it."""
    if request.param in WORLDS:
        made = WORLDS[request.param]()
    else:
        kubernetes = request.getfixturevalue("with_crds")
        made = KubernetesWorld(kubernetes, fresh_namespace(kubernetes, request.node))
    yield opened(made)
    asyncio.run(made.close())


@asynccontextmanager
async def opened(world: ContractWorld) -> AsyncIterator[ContractWorld]:
    """Open a world in the event loop of the test."""
    await world.opened()
    yield world


async def observed_job(world: ContractWorld, key: Key) -> ObservedJob:
    """Return what the backend observes of a job."""
    found = await world.backend.observe(key)
    assert isinstance(found, ObservedJob)
    return found


async def made(world: ContractWorld, name: str = "sums") -> tuple[Key, ObservedJob]:
    """Create a job without running a pass."""
    key = await world.submit(job(name=name))
    return key, await observed_job(world, key)


def child(owner: ObservedJob, name: str = "sums-runner", attempt: int = 0) -> Manifest:
    """Return a runner pod that a job owns."""
    meta = owner.job.meta
    reference = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": meta.namespace,
            "labels": {"dask.org/component": "job-runner", "dask.org/cluster-name": meta.name},
            "annotations": {"kubernetes.dask.org/attempt": str(attempt)},
            "ownerReferences": [reference],
        },
        "spec": {**pod(container("job", "python", "-c", "pass")), "restartPolicy": "Never"},
    }


async def with_runner(world: ContractWorld) -> tuple[Key, PodFacts]:
    """Create a job with the runner pod of attempt 0."""
    key, owner = await made(world)
    await world.backend.create(key, child(owner))
    runner = (await observed_job(world, key)).runner(0)
    assert runner is not None
    return key, runner


async def brought_up(world: ContractWorld) -> Key:
    """Create a job and bring it up."""
    key = await world.submit(job())
    for _ in range(3):
        await world.settle()
        for name in sorted(await world.exists()):
            kind, _, pod_name = name.partition("/")
            found = await world.get(kind, pod_name) if kind == "Pod" else None
            phase = (found or {}).get("status", {}).get("phase", "Pending")
            if found is not None and phase == "Pending":
                await world.run_pod(pod_name)
    await world.settle()
    assert (await observed_job(world, key)).status.job_status == "Running"
    return key


async def test_a_missing_object_is_observed_as_none(world: ContractWorld) -> None:
    assert await world.backend.observe(Key("DaskJob", world.namespace, "missing")) is None


async def test_an_object_is_observed_with_the_uid_assigned_by_its_world(
    world: ContractWorld,
) -> None:
    key, seen = await made(world)
    item = await world.get(key.kind, key.name)
    assert item is not None
    assert seen.ref.uid == metadata(item)["uid"] != ""
    assert not seen.status.started


async def test_a_create_shows_in_the_next_observe(world: ContractWorld) -> None:
    _, runner = await with_runner(world)
    assert runner.ref.name == "sums-runner"
    assert runner.ref.uid
    assert runner.alive


async def test_creating_twice_with_the_same_controller_succeeds_and_creates_one(
    world: ContractWorld,
) -> None:
    key, runner = await with_runner(world)
    owner = await observed_job(world, key)
    await world.backend.create(key, child(owner))
    again = (await observed_job(world, key)).runners
    assert [pod.ref for pod in again] == [runner.ref]


async def test_a_name_taken_by_a_foreign_object_is_rejected_as_a_conflict_and_observed(
    world: ContractWorld,
) -> None:
    key, owner = await made(world)
    _, other = await made(world, "other")
    foreign = child(other, "sums-runner")
    await world.backend.create(Key("DaskJob", world.namespace, "other"), foreign)
    with pytest.raises(CreateRejected) as caught:
        await world.backend.create(key, child(owner))
    assert caught.value.kind is RejectionKind.CONFLICT
    rejections = (await observed_job(world, key)).rejections
    assert rejections["Pod/sums-runner"].kind is RejectionKind.CONFLICT
    assert rejections["Pod/sums-runner"].message


async def test_a_rejection_is_counted_and_cleared_once_the_object_is_created(
    world: ContractWorld,
) -> None:
    key, owner = await made(world)
    other_key, other = await made(world, "other")
    await world.backend.create(other_key, child(other, "sums-runner"))
    for _ in range(2):
        with pytest.raises(CreateRejected):
            await world.backend.create(key, child(owner))
    rejection = (await observed_job(world, key)).rejections["Pod/sums-runner"]
    assert rejection.tries == 2
    await world.remove(other_key)
    await world.moment()
    await world.backend.create(key, child(owner))
    assert "Pod/sums-runner" not in (await observed_job(world, key)).rejections


async def test_a_foreign_object_is_not_observed_as_the_jobs_whatever_its_labels(
    world: ContractWorld,
) -> None:
    key, _ = await made(world)
    other_key, other = await made(world, "other")
    foreign = child(other, "sums-runner")
    foreign["metadata"]["labels"]["dask.org/cluster-name"] = "sums"
    await world.backend.create(other_key, foreign)
    assert (await observed_job(world, key)).runners == ()


async def test_a_delete_with_a_wrong_uid_has_no_effect(world: ContractWorld) -> None:
    key, runner = await with_runner(world)
    await world.backend.delete(replace(runner.ref, uid="00000000-0000-0000-0000-000000000000"))
    after = (await observed_job(world, key)).runner(0)
    assert after is not None
    assert not after.deleting


async def test_a_delete_of_an_object_that_is_gone_succeeds(world: ContractWorld) -> None:
    key, runner = await with_runner(world)
    await world.backend.delete(runner.ref)
    await world.moment()
    await world.backend.delete(runner.ref)
    await world.backend.delete(ObjectRef("Pod", world.namespace, "never-was", "uid"))
    seen = (await observed_job(world, key)).runner(0)
    assert seen is None or seen.deleting


async def test_deleting_a_job_removes_everything_that_it_owned(world: ContractWorld) -> None:
    key = await brought_up(world)
    await world.remove(key)
    for _ in range(3):
        await world.moment()
    assert await world.exists() == set()


async def test_a_stop_keeps_the_pod_and_ends_it_as_deadline_exceeded_with_an_exit_code(
    world: ContractWorld,
) -> None:
    key, _ = await with_runner(world)
    await world.run_pod("sums-runner")
    runner = (await observed_job(world, key)).runner(0)
    assert runner is not None
    await world.backend.stop(runner.ref)
    for _ in range(5):
        await world.moment()
    runner = (await observed_job(world, key)).runner(0)
    assert runner is not None
    assert runner.ended
    assert runner.reason == "DeadlineExceeded"
    assert runner.main is not None
    assert runner.main.exit_code is not None


async def test_a_stop_of_a_pod_that_is_gone_or_another_one_does_nothing(
    world: ContractWorld,
) -> None:
    key, runner = await with_runner(world)
    await world.backend.stop(replace(runner.ref, uid="another"))
    await world.backend.stop(ObjectRef("Pod", world.namespace, "never-was", "uid"))
    seen = (await observed_job(world, key)).runner(0)
    assert seen is not None
    assert not seen.stop_asked


async def test_a_written_status_shows_in_the_next_observe(world: ContractWorld) -> None:
    key, seen = await made(world)
    status = {"jobStatus": "JobCreated", "policy": {"backoffLimit": 3}, "attempt": 0}
    await world.backend.write_status(seen.ref, status)
    after = (await observed_job(world, key)).status
    assert (after.job_status, after.policy) == ("JobCreated", {"backoffLimit": 3})


async def test_a_status_is_replaced_completely_so_that_absent_fields_are_removed(
    world: ContractWorld,
) -> None:
    key, seen = await made(world)
    await world.backend.write_status(seen.ref, {"reason": "Evicted", "attempt": 1})
    await world.backend.write_status(seen.ref, {"attempt": 1})
    assert (await observed_job(world, key)).status.reason == ""


async def test_a_status_of_an_object_that_is_gone_or_another_one_does_nothing(
    world: ContractWorld,
) -> None:
    key, seen = await made(world)
    await world.backend.write_status(replace(seen.ref, uid="another"), {"reason": "Evicted"})
    assert (await observed_job(world, key)).status.reason == ""
    await world.remove(key)
    await world.backend.write_status(seen.ref, {"reason": "Evicted"})
    assert await world.backend.observe(key) is None


async def test_a_patch_merges_into_spec_and_metadata(world: ContractWorld) -> None:
    key = await world.submit(cluster())
    seen = await world.backend.observe(key)
    assert isinstance(seen, ObservedCluster)
    body: Manifest = {
        "metadata": {"annotations": {"kubernetes.dask.org/delete-workers": "true"}},
        "spec": {"worker": {"replicas": 5}},
    }
    await world.backend.patch(Patch(seen.ref, body))
    after = await world.backend.observe(key)
    assert isinstance(after, ObservedCluster)
    assert after.cluster.spec.worker.replicas == 5
    assert after.cluster.spec.worker.template == seen.cluster.spec.worker.template
    assert after.cluster.deletes_workers
    assert after.cluster.meta.generation > seen.cluster.meta.generation


async def test_a_patch_of_another_object_of_the_name_does_nothing(world: ContractWorld) -> None:
    key = await world.submit(cluster())
    item = await world.get(key.kind, key.name)
    assert item is not None
    foreign = replace(object_ref(item), uid="another")
    await world.backend.patch(Patch(foreign, {"spec": {"worker": {"replicas": 5}}}))
    after = await world.backend.observe(key)
    assert isinstance(after, ObservedCluster)
    assert after.cluster.spec.worker.replicas == 2


async def test_a_patch_of_an_earlier_version_does_nothing(world: ContractWorld) -> None:
    key = await world.submit(cluster())
    seen = await world.backend.observe(key)
    assert isinstance(seen, ObservedCluster)
    version = seen.cluster.meta.resource_version
    assert version
    for replicas, expected in ((5, 5), (7, 5)):
        body: Manifest = {"metadata": {"resourceVersion": version}}
        body["spec"] = {"worker": {"replicas": replicas}}
        await world.backend.patch(Patch(seen.ref, body))
        after = await world.backend.observe(key)
        assert isinstance(after, ObservedCluster)
        assert after.cluster.spec.worker.replicas == expected


async def test_a_collected_report_is_observed_even_if_no_agent_answered(
    world: ContractWorld,
) -> None:
    key = await brought_up(world)
    seen = await observed_job(world, key)
    assert seen.report is None
    assert seen.scheduler is not None
    # The answer may come later: no pass waits for a scheduler.
    await world.backend.collect_report(seen.ref, seen.scheduler)

    async def collected() -> bool:
        return (await observed_job(world, key)).report is not None

    await until(collected)


async def test_a_job_runs_to_success_and_leaves_only_its_runner(world: ContractWorld) -> None:
    key = await brought_up(world)
    await world.end_pod("sums-runner", 0)
    await world.settle()
    status = (await observed_job(world, key)).status
    assert (status.job_status, status.exit_code) == ("Successful", 0)
    assert await world.exists() == {"DaskJob/sums", "Pod/sums-runner"}


async def test_a_job_whose_runner_exits_with_3_has_failed_with_exit_code_3(
    world: ContractWorld,
) -> None:
    manifest = job(backoffLimit=0)
    key = await world.submit(manifest)
    await world.settle()
    await world.run_pod("sums-runner")
    await world.end_pod("sums-runner", 3)
    await world.settle()
    status = (await observed_job(world, key)).status
    assert (status.job_status, status.reason, status.exit_code) == ("Failed", "ExitCode", 3)


async def observed_autoscaler(world: ContractWorld, key: Key) -> ObservedAutoscaler:
    """Return what the backend observes of an autoscaler."""
    found = await world.backend.observe(key)
    assert isinstance(found, ObservedAutoscaler)
    return found


async def test_an_autoscaler_is_observed_with_its_cluster_its_group_and_the_older_one(
    world: ContractWorld,
) -> None:
    key = await world.submit(autoscaler(workerGroup="simple-more"))
    alone = await observed_autoscaler(world, key)
    assert (alone.cluster, alone.group, alone.older_autoscaler) == (None, None, "")
    await world.submit(cluster())
    await world.submit(group())
    seen = await observed_autoscaler(world, key)
    assert seen.cluster is not None
    assert seen.group is not None
    assert (seen.cluster.meta.name, seen.group.meta.name) == ("simple", "simple-more")
    # If both were created in one second, the name decides.
    later = await world.submit(autoscaler("younger", workerGroup="simple-more"))
    assert (await observed_autoscaler(world, later)).older_autoscaler == "simple"
    assert (await observed_autoscaler(world, key)).older_autoscaler == ""


async def test_an_autoscaled_group_gets_its_minimum_of_workers_and_the_scheduler_is_asked(
    world: ContractWorld,
) -> None:
    await brought_up(world)
    key = await world.submit(
        autoscaler("sums", cluster="sums", minimum=3, maximum=4, intervalSeconds=1)
    )
    for _ in range(30):
        await world.settle()
        if len((await observed_job(world, Key("DaskJob", world.namespace, "sums"))).workers) > 2:
            break
        await world.moment()
    seen = await observed_autoscaler(world, key)
    assert seen.demand is not None
    assert seen.demand.workers == 0
    assert (seen.status.desired, seen.status.reason) == (3, "BelowMinimum")
    sums = await world.get("DaskWorkerGroup", "sums-default")
    assert sums is not None
    assert sums["spec"]["worker"]["replicas"] == 3
