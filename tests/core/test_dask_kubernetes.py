"""Objects left by dask-kubernetes, and how daskjob handles them (design §2.4)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from daskjob.backends.fake import FakeBackend
from daskjob.core import names
from daskjob.core.manifests import Key, Manifest, metadata, object_ref
from daskjob.core.names import Component
from tests.core.dask_kubernetes import FINALIZER, deployment, left, old_cluster, old_job, put
from tests.core.manifests import cluster, cluster_spec, group, job
from tests.core.stories import CLUSTER, GROUP, JOB, Story

REASON = "MadeByDaskKubernetes"


class Inherited(Story):
    """A world with objects of dask-kubernetes."""

    def __init__(self, key: Key, world: FakeBackend) -> None:
        self.world, self.key = world, key


def inherited_cluster(**how: Any) -> Inherited:
    """Return a cluster of dask-kubernetes, before our first pass."""
    world = FakeBackend()
    return Inherited(old_cluster(world, **how), world)


def inherited_job(**how: Any) -> Inherited:
    """Return a running job of dask-kubernetes, before our first pass."""
    world = FakeBackend()
    return Inherited(old_job(world, **how), world)


def condition(story: Story, kind: str, name: str | None = None) -> Manifest:
    """Return the only condition of a cluster or group."""
    found: Manifest = story.status_of(kind, name)["conditions"][0]
    return found


def finalizers(story: Story, kind: str, name: str | None = None) -> list[str]:
    """Return the finalizers of an object."""
    item = story.named(kind, name)
    return list(metadata(item or {}).get("finalizers") or ())


# Its finalizer


OBJECTS = pytest.mark.parametrize(
    "manifest", [job(), cluster(), group()], ids=lambda manifest: str(manifest["kind"])
)


def unmanaged_cluster(**how: Any) -> Inherited:
    """Return a cluster of dask-kubernetes that daskjob has marked as unmanaged."""
    story = inherited_cluster(**how)
    story.settle()
    return story


def with_finalizers(manifest: Manifest, *extra: str) -> Story:
    """Return a story whose object has dask-kubernetes' finalizer, among others."""
    meta = {**manifest["metadata"], "finalizers": [*extra, FINALIZER]}
    return Story({**manifest, "metadata": meta})


@OBJECTS
def test_its_finalizer_is_removed_in_the_first_pass(manifest: Manifest) -> None:
    story = with_finalizers(manifest)
    assert story.one_pass() == [f"patch {manifest['kind']}/{story.key.name}"]
    assert finalizers(story, story.key.kind) == []


@OBJECTS
def test_finalizers_of_others_are_kept_in_their_order(manifest: Manifest) -> None:
    story = with_finalizers(manifest, "example.org/one", "example.org/two")
    story.settle()
    assert finalizers(story, story.key.kind) == ["example.org/one", "example.org/two"]


@OBJECTS
def test_without_its_finalizer_nothing_is_patched(manifest: Manifest) -> None:
    story = Story({**manifest, "metadata": {**manifest["metadata"], "finalizers": ["a.org/b"]}})
    story.settle()
    assert not [w for w in story.writes if w.startswith("patch")]


@OBJECTS
def test_a_terminating_object_is_deleted(manifest: Manifest) -> None:
    story = with_finalizers(manifest)
    item = story.named(story.key.kind)
    assert item is not None
    story.world.store.delete(object_ref(item))
    assert story.named(story.key.kind) is not None
    story.settle()
    assert story.named(story.key.kind) is None


def test_an_invalid_spec_keeps_no_finalizer() -> None:
    for manifest in (job(backoffLimit=-1), cluster(idleTimeout=-1)):
        story = with_finalizers(manifest)
        story.settle()
        assert finalizers(story, story.key.kind) == []


def test_a_job_managed_by_another_controller_keeps_its_finalizers() -> None:
    story = with_finalizers(job(managedBy="kueue.x-k8s.io/multikueue"))
    story.settle()
    assert story.writes == []


def test_a_finalizer_added_during_the_pass_is_not_lost() -> None:
    story = with_finalizers(cluster())
    decision = story.decision()
    item = story.named(CLUSTER)
    assert item is not None
    added = {"metadata": {"finalizers": [FINALIZER, "example.org/late"]}}
    story.world.store.patch(object_ref(item), added)
    for patch in decision.patch:
        asyncio.run(story.world.patch(patch))
    assert finalizers(story, CLUSTER) == [FINALIZER, "example.org/late"]
    story.settle()
    assert finalizers(story, CLUSTER) == ["example.org/late"]


def test_a_job_deleted_without_an_operator_takes_its_cluster_with_it() -> None:
    story = inherited_job()
    item = story.named(JOB)
    assert item is not None
    story.world.store.delete(object_ref(item))
    assert story.named(CLUSTER) is not None
    story.settle()
    story.kubelet()
    assert list(story.world.store.all()) == []


# Its clusters


def test_a_cluster_with_its_deployment_is_unmanaged_and_reported_once() -> None:
    story = inherited_cluster()
    before = {str(object_ref(item)) for item in story.world.store.all()}
    story.settle()
    story.after(10_000)
    assert {str(object_ref(item)) for item in story.world.store.all()} == before
    assert sorted(story.writes) == [
        "patch DaskCluster/simple",
        "status DaskCluster/simple",
        "status DaskWorkerGroup/simple-default",
    ]
    found = condition(story, CLUSTER)
    assert (found["status"], found["reason"]) == ("True", REASON)
    assert "create it again" in found["message"]
    assert story.status_of(CLUSTER)["phase"] == "Running"


def test_the_worker_count_of_such_a_cluster_is_unknown_and_not_reported() -> None:
    story = unmanaged_cluster()
    for kind, name in ((CLUSTER, "simple"), (GROUP, "simple-default")):
        assert "replicas" not in story.status_of(kind, name)


def test_its_groups_are_unmanaged_too() -> None:
    story = unmanaged_cluster()
    assert condition(story, GROUP, "simple-default")["reason"] == REASON


def test_a_group_that_joins_such_a_cluster_waits_and_is_not_patched() -> None:
    story = inherited_cluster()
    story.world.submit(group())
    story.settle()
    assert condition(story, GROUP, "simple-more")["reason"] == REASON
    assert "patch DaskWorkerGroup/simple-more" not in story.writes
    assert len(story.workers()) == 2


def test_scaling_such_a_cluster_changes_nothing() -> None:
    story = unmanaged_cluster()
    story.edit(worker={**cluster_spec()["worker"], "replicas": 5})
    assert len(story.workers()) == 2
    item = story.named(GROUP, "simple-default")
    assert item is not None
    assert item["spec"]["worker"]["replicas"] == 2


@pytest.mark.parametrize("phase", ["Pending", "Running"])
def test_a_deployment_without_a_pod_counts_too(phase: str) -> None:
    story = inherited_cluster(phase=phase)
    story.world.lose(story.scheduler())
    story.settle()
    assert condition(story, CLUSTER)["reason"] == REASON
    assert story.pod_names() == []


@pytest.mark.parametrize("phase", [None, "Created"])
def test_a_cluster_with_little_status_is_recognized_by_its_schedulers_pod(
    phase: str | None,
) -> None:
    story = unmanaged_cluster(phase=phase)
    assert condition(story, CLUSTER)["reason"] == REASON
    assert story.status_of(CLUSTER)["phase"] == "Running"


def test_the_reported_status_stays_when_the_schedulers_pod_is_gone() -> None:
    story = unmanaged_cluster()
    story.world.lose(story.scheduler())
    story.after(1000)
    found = condition(story, CLUSTER)
    assert (found["status"], found["reason"]) == ("False", REASON)
    assert story.pod_names() == []


def test_a_recreated_cluster_is_ours() -> None:
    story = unmanaged_cluster()
    item = story.named(CLUSTER)
    assert item is not None
    story.world.store.delete(object_ref(item))
    story.kubelet()
    story.world.submit(cluster())
    story.bring_up()
    assert story.pod_names() == ["simple-scheduler"]
    assert condition(story, CLUSTER)["reason"] == "Answers"
    assert condition(story, GROUP, "simple-default")["reason"] == "AllReady"


def test_a_recreated_cluster_waits_for_the_end_of_the_old_schedulers_pod() -> None:
    story = unmanaged_cluster()
    item = story.named(CLUSTER)
    assert item is not None
    story.world.store.delete(object_ref(item))
    story.world.advance(1)
    story.world.submit(cluster())
    story.settle()
    assert [str(metadata(pod)["name"]) for pod in story.world.pods(Component.SCHEDULER)] == [
        "simple-scheduler-6d5fcb9b4-x2k9p"
    ]
    assert condition(story, CLUSTER)["reason"] == "NameTaken"
    story.kubelet()
    story.bring_up()
    assert story.pod_names() == ["simple-scheduler"]


def test_a_cluster_waits_for_garbage_collection_of_the_old_deployments_pod() -> None:
    world = FakeBackend()
    gone = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "g", "uid": "g"}}
    story = Inherited(Key(CLUSTER, "default", "simple"), world)
    pod = deployment(world, gone, "simple-scheduler", "scheduler", "simple")
    world.advance(1)
    world.submit(cluster())
    story.settle()
    assert condition(story, CLUSTER)["reason"] == "NameTaken"
    world.lose(pod)
    story.bring_up()
    assert story.status_of(CLUSTER)["phase"] == "Running"


def test_a_pod_of_another_deployment_does_not_mark_a_cluster_as_dask_kubernetes() -> None:
    story = Story(cluster())
    owner = put(story.world, left("ReplicaSet", "other-6d5f"))
    spec = cluster_spec()["scheduler"]["spec"]
    put(story.world, left("Pod", "other-6d5f-x", owner, component="scheduler", spec=spec))
    story.settle()
    assert "simple-scheduler" in story.pod_names()
    for pod in story.world.pods(Component.SCHEDULER)[:1]:
        story.world.lose(pod)


def test_an_unmanaged_cluster_can_be_deleted() -> None:
    story = unmanaged_cluster()
    item = story.named(CLUSTER)
    assert item is not None
    story.world.store.delete(object_ref(item))
    story.kubelet()
    assert list(story.world.store.all()) == []


# Its jobs


@pytest.mark.parametrize("word", ["Successful", "Failed"])
def test_a_job_finished_by_it_is_unchanged(word: str) -> None:
    world = FakeBackend()
    manifest = job()
    end = "2026-01-01T11:59:30Z"
    manifest["status"] = {"jobStatus": word, "startTime": "2026-01-01T11:59:00Z", "endTime": end}
    story = Inherited(world.submit(manifest), world)
    story.after(1_000_000)
    assert story.writes == []
    assert (story.word, story.status_of(JOB)["endTime"]) == (word, end)


def test_a_job_started_by_it_continues_with_its_runner_and_its_cluster() -> None:
    story = inherited_job()
    before = {str(object_ref(item)) for item in story.world.store.all()}
    story.settle()
    story.after(10_000)
    assert {str(object_ref(item)) for item in story.world.store.all()} == before
    assert story.writes.count("status DaskJob/sums") == 1
    assert (story.word, story.status.phase) == ("Running", "Running")
    assert story.status_of(JOB)["startTime"] == "2026-01-01T11:59:00Z"
    assert story.condition("RunnerReady") == (True, "Running")
    assert story.condition("SchedulerReady") is None
    assert story.event_reasons() == []


@pytest.mark.parametrize(
    ("code", "word", "reason"), [(0, "Successful", "Completed"), (3, "Failed", "ExitCode")]
)
def test_its_end_is_its_runners_and_its_cluster_is_deleted(
    code: int, word: str, reason: str
) -> None:
    story = inherited_job()
    story.settle()
    story.end_runner(code)
    assert (story.word, story.status.reason, story.status.exit_code) == (word, reason, code)
    story.kubelet()
    story.kubelet()
    assert story.named(CLUSTER) is None
    assert story.pod_names() == ["sums-runner"]


def test_an_end_without_an_operator_is_reported() -> None:
    story = inherited_job()
    story.world.exit(story.runner(), 0)
    story.settle()
    assert story.word == "Successful"


@pytest.mark.parametrize("word", ["JobCreated", "ClusterCreated"])
def test_a_job_whose_runner_has_not_started_is_adopted(word: str) -> None:
    story = inherited_job(word=word, startTime=None)
    story.settle()
    assert story.word == "Running"
    story.end_runner(0)
    assert story.word == "Successful"


def test_it_is_not_retried_as_dask_kubernetes_has_no_retries() -> None:
    story = inherited_job()
    story.world.exit(story.runner(), 1)
    story.after(1000)
    assert story.word == "Failed"
    assert [a.number for a in story.status.attempts] == [0]


def test_a_runner_restarted_by_its_kubelet_has_not_ended() -> None:
    story = inherited_job(restart_policy="OnFailure")
    story.settle()
    state = {"terminated": {"exitCode": 1, "reason": "Error"}}
    container = story.runner()["status"]["containerStatuses"][0]
    story.world._set(story.runner(), containerStatuses=[{**container, "state": state}])
    story.settle()
    assert story.word == "Running"
    story.world.restart(story.runner())
    story.after(1000)
    assert story.word == "Running"
    state = {"terminated": {"exitCode": 0, "reason": "Completed"}}
    story.world._set(story.runner(), containerStatuses=[{**container, "state": state}])
    story.settle()
    assert story.word == "Successful"


def test_a_missing_runner_is_lost() -> None:
    story = inherited_job()
    story.world.lose(story.runner())
    story.settle()
    assert (story.word, story.status.reason) == ("Failed", "RunnerLost")


def test_an_end_is_reported_even_if_it_deleted_the_cluster_before_writing_the_end() -> None:
    story = inherited_job()
    item = story.named(CLUSTER)
    assert item is not None
    story.world.store.patch(object_ref(item), {"metadata": {"finalizers": None}})
    story.world.store.delete(object_ref(item))
    story.world.exit(story.runner(), 0)
    story.settle()
    assert story.word == "Successful"


def test_a_spec_that_we_would_reject_does_not_end_a_running_job() -> None:
    world = FakeBackend()
    key = old_job(world)
    item = world.store.get(key)
    assert item is not None
    world.store.patch(object_ref(item), {"spec": {"backoffLimit": "many"}})
    story = Inherited(key, world)
    story.settle()
    assert story.word == "Running"


def test_it_can_be_cancelled_and_suspended() -> None:
    story = inherited_job()
    story.edit(cancel=True)
    story.after(2)
    assert (story.word, story.status.reason) == ("Failed", "Cancelled")
    story = inherited_job()
    story.edit(suspend=True)
    story.after(2)
    story.kubelet()
    assert story.status.phase == "Suspended"
    assert story.named(CLUSTER) is None


def test_a_job_that_it_had_not_started_is_started_by_us() -> None:
    world = FakeBackend()
    manifest = job()
    manifest["status"] = {"jobStatus": "JobCreated"}
    story = Inherited(world.submit(manifest), world)
    story.bring_up()
    assert story.word == "Running"
    assert (story.status.policy or {})["backoffLimit"] == 6


def test_a_resubmitted_job_waits_for_the_end_of_its_former_clusters_deployment() -> None:
    story = inherited_job()
    story.settle()
    item = story.named(JOB)
    assert item is not None
    story.world.store.delete(object_ref(item))
    story.settle()
    story.world.advance(1)
    story.world.submit(job())
    story.settle()
    assert story.named(CLUSTER) is None
    story.kubelet()
    story.bring_up()
    assert story.word == "Running"
    assert "sums-scheduler" in story.pod_names()


def test_a_job_whose_schedulers_name_is_taken_for_600_s_fails() -> None:
    story = Story(job())
    story.one_pass()
    gone = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "g", "uid": "g"}}
    pod = deployment(story.world, gone, "sums-scheduler", "scheduler", "sums")
    story.after(599)
    assert not story.status.finished
    assert condition(story, CLUSTER)["reason"] == "NameTaken"
    story.after(1)
    assert (story.word, story.status.reason) == ("Failed", "NameConflict")
    assert str(metadata(pod)["name"]) in story.status.message


def test_a_job_of_ours_runs_on_a_cluster_of_dask_kubernetes() -> None:
    story = inherited_cluster()
    key = story.world.submit(job(clusterRef={"name": "simple"}, runnerStart="AfterScheduler"))
    story.bring_up()
    status = story.world.job_status(key)
    assert str(status.job_status) == "Running"
    assert status.scheduler_address == "tcp://simple-scheduler.default.svc:8786"
    story.world.exit(story.world.pod("sums-runner"), 0)
    story.settle()
    assert str(story.world.job_status(key).job_status) == "Successful"
    assert story.named(CLUSTER) is not None


# Names


@pytest.mark.parametrize(
    ("pod", "attempt"),
    [
        ("sums-runner", 0),
        ("sums-runner-7", 7),
        ("sums-runner-0", None),
        ("sums-runner-07", None),
        ("sums-runner-x", None),
        ("other-runner", None),
    ],
)
def test_the_attempt_is_parsed_from_the_runners_name(pod: str, attempt: int | None) -> None:
    assert names.attempt_of("sums", pod) == attempt
