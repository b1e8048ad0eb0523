"""A DaskAutoscaler in its cluster: its writes, their timing, and its status (design §2.1, §4a)."""

from __future__ import annotations

from typing import Any

import pytest

from daskjob.backends.fake import START, FakeBackend
from daskjob.core import names
from daskjob.core.desired.autoscaler import autoscaler as built
from daskjob.core.manifests import Key, Manifest, format_time, metadata, object_ref
from daskjob.core.pods import pod_facts
from tests.core.lives import Life
from tests.core.manifests import (
    autoscaler,
    cluster,
    cluster_spec,
    container,
    documented,
    group,
    job,
    pod,
    read_cluster,
)
from tests.core.stories import CLUSTER, GROUP, Story, running

AUTOSCALER = names.Kind.AUTOSCALER
SIMPLE = Key(AUTOSCALER, "default", "simple")
HIGHMEM = {"name": "highmem", "replicas": 1, "spec": pod(container("worker", "dask-worker"))}
PATCH = "patch DaskWorkerGroup/simple-default"


def replicas(story: Story, name: str = "simple-default", kind: str = GROUP) -> int:
    """Return the replicas in the spec of a group or a cluster."""
    item = story.named(kind, name)
    assert item is not None
    return int(item["spec"]["worker"]["replicas"])


def status(story: Story, name: str = "simple") -> Manifest:
    """Return the status of an autoscaler."""
    return story.status_of(AUTOSCALER, name)


def why(story: Story, name: str = "simple") -> tuple[str, str, str]:
    """Return status, reason and message of its condition."""
    [found] = status(story, name)["conditions"]
    assert found["type"] == "ScalingActive"
    return found["status"], found["reason"], found["message"]


def scaled(workers: int = 2, *, wants: int | None = None, **spec: Any) -> Story:
    """Return a running cluster with an autoscaler, after an answer of the scheduler."""
    story = Story(cluster(worker={**cluster_spec(workers)["worker"]}))
    story.bring_up()
    story.world.submit(autoscaler(**spec))
    register(story)
    story.world.want(simple_default=workers if wants is None else wants)
    story.settle()
    return story


def register(story: Story) -> None:
    """Let all pods start, and all workers register with the scheduler."""
    story.world.start_all()
    story.settle()
    story.world.schedulers_answer()
    story.settle()


def wants(story: Story, workers: int, seconds: float = 5, group: str = "simple_default") -> None:
    """Let the scheduler want this number of workers, and time pass."""
    story.world.want(**{group: workers})
    story.after(seconds)
    register(story)


def set_replicas(story: Story, count: int, name: str = "simple-default", kind: str = GROUP) -> None:
    """Scale as ``kubectl scale`` does."""
    item = story.named(kind, name)
    assert item is not None
    story.world.store.patch(object_ref(item), {"spec": {"worker": {"replicas": count}}})


def after(story: Story, seconds: int) -> None:
    """Let time pass second by second."""
    for _ in range(seconds):
        story.after(1)


# Writes


def test_the_documented_autoscaler_follows_the_scheduler_within_its_bounds() -> None:
    story = Story(cluster())
    story.bring_up()
    story.world.submit(documented("autoscaler"))
    register(story)
    wants(story, 50)
    assert replicas(story) == 10
    assert len(story.workers()) == 10
    wants(story, 0, 60)
    assert replicas(story) == 1
    after(story, 5)
    assert len(story.workers()) == 1


def test_it_patches_the_group_once_and_its_cluster_follows_and_records_it() -> None:
    story = scaled()
    before = len(story.writes)
    wants(story, 5)
    writes = [w for w in story.writes[before:] if w.startswith("patch")]
    assert writes == [PATCH, "patch DaskCluster/simple", PATCH]
    assert (replicas(story), replicas(story, "simple", CLUSTER)) == (5, 5)
    group = story.named(GROUP, "simple-default")
    noted = metadata(group or {})["annotations"]["kubernetes.dask.org/synced-replicas"]
    assert noted == "5"


def test_a_user_made_autoscaler_gets_only_an_owner_that_is_no_controller() -> None:
    story = Story(cluster())
    story.bring_up()
    story.world.submit(autoscaler())
    before = story.named(AUTOSCALER)
    assert before is not None
    assert story.one_pass(SIMPLE) == ["patch DaskAutoscaler/simple"]
    after_it = story.named(AUTOSCALER)
    assert after_it is not None
    [owner] = metadata(after_it)["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == (CLUSTER, "simple", False)
    assert (after_it["spec"], metadata(after_it).get("labels")) == (before["spec"], None)
    story.bring_up()
    assert story.writes.count("patch DaskAutoscaler/simple") == 1


def test_leftovers_of_dask_kubernetes_are_removed_in_the_same_patch() -> None:
    story = Story(cluster())
    story.bring_up()
    manifest = autoscaler()
    manifest["metadata"]["finalizers"] = ["kopf.zalando.org/KopfFinalizerMarker"]
    story.world.submit(manifest)
    story.settle()
    found = metadata(story.named(AUTOSCALER) or {})
    assert "finalizers" not in found
    assert len(found["ownerReferences"]) == 1
    assert story.writes.count("patch DaskAutoscaler/simple") == 1


def test_it_is_deleted_with_its_cluster_even_without_an_operator() -> None:
    story = scaled()
    item = story.named(CLUSTER)
    assert item is not None
    story.world.store.delete(object_ref(item))
    assert story.named(AUTOSCALER) is None


def test_a_group_at_0_grows_again_with_a_task() -> None:
    story = scaled(1, minimum=0)
    wants(story, 0, 60)
    after(story, 5)
    assert (replicas(story), story.workers()) == (0, [])
    wants(story, 1)
    assert replicas(story) == 1
    assert len(story.workers()) == 1


def test_pending_pods_are_counted_and_removed_first() -> None:
    story = scaled(2)
    running_now = {metadata(p)["name"] for p in story.workers()}
    story.world.want(simple_default=6)
    story.after(5)
    assert len(story.workers()) == 6
    # They are the requested workers: no more are created while they wait for a node.
    story.after(30)
    assert len(story.workers()) == 6
    story.world.want(simple_default=2)
    story.after(60)
    story.kubelet()
    assert {metadata(p)["name"] for p in story.workers()} == running_now


def test_a_change_by_hand_holds_until_the_next_decision() -> None:
    story = scaled(2, intervalSeconds=5)
    after(story, 60)
    set_replicas(story, 7)
    story.settle()
    assert replicas(story) == 7
    assert status(story)["reason"] == "ScaledByOthers"
    after(story, 4)
    assert replicas(story) == 7
    after(story, 1)
    assert replicas(story) == 2


def test_a_change_by_hand_of_the_cluster_holds_until_the_next_decision_too() -> None:
    story = scaled(2)
    after(story, 60)
    set_replicas(story, 7, "simple", CLUSTER)
    story.settle()
    assert replicas(story) == 7
    after(story, 5)
    assert (replicas(story), replicas(story, "simple", CLUSTER)) == (2, 2)


def test_deleting_it_leaves_the_group_unchanged() -> None:
    story = scaled()
    wants(story, 6)
    item = story.named(AUTOSCALER)
    assert item is not None
    story.world.store.delete(object_ref(item))
    wants(story, 1, 1000)
    assert (replicas(story), replicas(story, "simple", CLUSTER)) == (6, 6)


def test_decisions_are_an_interval_apart() -> None:
    story = scaled(1, maximumStep=1, intervalSeconds=10)
    story.world.want(simple_default=4)
    counts = []
    for _ in range(31):
        story.after(1)
        counts.append(replicas(story))
    assert [counts.index(n) for n in (2, 3, 4)] == [0, 10, 20]
    assert status(story)["desired"] == 4


def test_pods_of_several_workers_are_counted_as_such() -> None:
    story = Story(cluster())
    item = story.named(CLUSTER)
    assert item is not None
    template = pod(container("worker", "dask-worker", "--nworkers", "4"))
    story.world.store.patch(object_ref(item), {"spec": {"worker": {"spec": template}}})
    story.bring_up()
    story.world.submit(autoscaler())
    story.world.want(simple_default=9)
    story.settle()
    assert replicas(story) == 3


# Groups


def test_any_group_is_scaled_by_name_and_no_other() -> None:
    story = scaled(2)
    story.world.submit(group("simple-more"))
    story.world.submit(autoscaler("more", workerGroup="simple-more"))
    story.settle()
    story.world.want(simple_default=2, simple_more=9)
    story.after(5)
    assert (replicas(story), replicas(story, "simple-more")) == (2, 9)
    assert status(story, "more")["desired"] == 9


def test_a_clusters_groups_have_separate_autoscalers_where_its_spec_has_them() -> None:
    bounds = {"minimum": 1, "maximum": 4}
    worker = {**cluster_spec()["worker"], "autoscaling": {**bounds, "scaleDownDelaySeconds": 30}}
    story = Story(cluster(worker=worker, workerGroups=[{**HIGHMEM, "autoscaling": bounds}]))
    story.bring_up()
    found = {
        metadata(o)["name"]: o["spec"] for o in story.world.store.all() if o["kind"] == AUTOSCALER
    }
    default = {"cluster": "simple", "workerGroup": "simple-default", **bounds}
    assert found == {
        "simple-default": {**default, "scaleDownDelaySeconds": 30},
        "simple-highmem": {
            **default,
            "workerGroup": "simple-highmem",
            "scaleDownDelaySeconds": 60,
        },
    }
    story.world.want(simple_default=3, simple_highmem=9)
    story.after(5)
    assert (replicas(story), replicas(story, "simple-highmem")) == (3, 4)


def test_the_complete_autoscaler_of_a_group() -> None:
    bounds = {"minimum": 1, "maximum": 4}
    manifest = cluster(worker={**cluster_spec()["worker"], "autoscaling": bounds})
    manifest["metadata"] |= {"uid": "uid", "labels": {"team": "a"}, "annotations": {"b": "c"}}
    found = read_cluster(manifest)
    bounds_read = found.spec.worker.autoscaling
    assert bounds_read is not None
    assert built(found, found.spec.worker, bounds_read) == {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskAutoscaler",
        "metadata": {
            "name": "simple-default",
            "namespace": "default",
            "labels": {"team": "a", "dask.org/cluster-name": "simple"},
            "annotations": {"b": "c"},
            "ownerReferences": [
                {
                    "apiVersion": "kubernetes.dask.org/v1",
                    "kind": "DaskCluster",
                    "name": "simple",
                    "uid": "uid",
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "cluster": "simple",
            "workerGroup": "simple-default",
            **bounds,
            "scaleDownDelaySeconds": 60,
        },
    }


def test_bounds_changed_in_the_cluster_change_only_those_of_its_autoscaler() -> None:
    worker = {**cluster_spec()["worker"], "autoscaling": {"maximum": 4}}
    story = Story(cluster(worker=worker))
    story.bring_up()
    item = story.named(AUTOSCALER, "simple-default")
    assert item is not None
    story.world.store.patch(object_ref(item), {"spec": {"maximumStep": 2, "maximum": 99}})
    story.settle()
    story.edit(worker={"autoscaling": {"minimum": 2, "maximum": 6}})
    found = story.named(AUTOSCALER, "simple-default")
    assert found is not None
    spec = found["spec"]
    assert (spec["minimum"], spec["maximum"], spec["maximumStep"]) == (2, 6, 2)


def test_removing_the_field_deletes_the_autoscaler_and_the_group_keeps_its_size() -> None:
    worker = {**cluster_spec()["worker"], "autoscaling": {"minimum": 1, "maximum": 4}}
    story = Story(cluster(worker=worker))
    story.bring_up()
    story.world.want(simple_default=4)
    story.after(5)
    story.edit(worker={"autoscaling": None})
    assert story.named(AUTOSCALER, "simple-default") is None
    assert replicas(story) == 4


def test_a_users_autoscaler_of_the_name_is_not_taken_over() -> None:
    story = Story(cluster())
    story.bring_up()
    story.world.submit(autoscaler("simple-default"))
    story.edit(worker={"autoscaling": {"minimum": 3, "maximum": 4}})
    found = story.named(AUTOSCALER, "simple-default")
    assert found is not None
    assert found["spec"]["minimum"] == 1
    story.after(1000)


# Obstacles


def test_an_unreachable_scheduler_changes_nothing_and_is_reported() -> None:
    story = scaled(4)
    after(story, 100)
    story.world.fall_silent()
    story.settle()
    state, reason, message = why(story)
    assert (state, reason) == ("False", "SchedulerUnreachable")
    assert "DaskCluster simple does not respond; simple-default is not scaled" in message
    set_replicas(story, 6)
    after(story, 100)
    assert replicas(story) == 6
    story.world.want(simple_default=4)
    story.settle()
    assert why(story)[:2] == ("True", "Following")


def test_the_window_restarts_after_a_silence() -> None:
    story = scaled(4)
    wants(story, 1, 50)
    story.world.fall_silent()
    story.settle()
    story.world.want(simple_default=1)
    after(story, 59)
    assert replicas(story) == 4
    after(story, 1)
    assert replicas(story) == 1


def test_the_window_restarts_with_the_operator_and_is_never_shorter() -> None:
    story = scaled(4)
    wants(story, 1, 50)
    story.world.forget()
    story.world.want(simple_default=1)
    after(story, 59)
    assert replicas(story) == 4
    after(story, 1)
    assert replicas(story) == 1


def test_a_restart_writes_nothing() -> None:
    story = scaled(4)
    wants(story, 6)
    after(story, 30)
    before = len(story.writes)
    story.world.forget()
    story.settle()
    story.world.schedulers_answer()
    story.world.want(simple_default=6)
    story.after(3)
    assert story.writes[before:] == []


def test_a_scheduler_that_does_not_know_the_group_is_reported() -> None:
    story = scaled(2)
    story.world.submit(group("simple-more"))
    story.world.submit(autoscaler("more", workerGroup="simple-more"))
    story.settle()
    assert why(story, "more")[1] == "NoTarget"


@pytest.mark.parametrize(
    ("spec", "reason", "text"),
    [
        ({"cluster": "missing"}, "ClusterMissing", "DaskCluster missing does not exist"),
        ({"minimum": 5, "maximum": 2}, "InvalidSpec", "spec.maximum"),
        (
            {"workerGroup": "other-default"},
            "GroupOfAnotherCluster",
            "belongs to DaskCluster other, not",
        ),
    ],
    ids=["no cluster", "bounds", "another's group"],
)
def test_one_that_cannot_work_reports_why(spec: Manifest, reason: str, text: str) -> None:
    story = Story(cluster())
    story.world.submit(cluster("other"))
    story.bring_up()
    story.world.submit(autoscaler(**spec))
    story.settle()
    state, found, message = why(story)
    assert (state, found) == ("False", reason)
    assert text in message
    assert not [w for w in story.writes if w.startswith("patch DaskWorkerGroup")]


def test_one_whose_group_does_not_exist_waits_for_it() -> None:
    story = Story(cluster())
    story.bring_up()
    story.world.submit(autoscaler(workerGroup="simple-more"))
    story.world.want(simple_more=3)
    story.settle()
    after(story, 31)
    assert why(story)[1] == "GroupMissing"
    story.world.submit(group("simple-more"))
    story.settle()
    assert replicas(story, "simple-more") == 3


def test_one_created_before_its_cluster_works_once_the_cluster_exists() -> None:
    world = FakeBackend()
    world.submit(autoscaler())
    story = Story(cluster(), world)
    story.bring_up()
    story.world.want(simple_default=5)
    story.settle()
    assert replicas(story) == 5
    assert why(story)[:2] == ("True", "Following")


def test_the_older_of_two_autoscalers_of_a_group_acts_and_the_other_reports_it() -> None:
    story = scaled(2)
    story.after(1)
    story.world.submit(autoscaler("another", minimum=7))
    story.settle()
    after(story, 60)
    assert replicas(story) == 2
    state, reason, message = why(story, "another")
    assert (state, reason) == ("False", "AnotherAutoscaler")
    assert "DaskAutoscaler simple is older and scales simple-default" in message
    item = story.named(AUTOSCALER, "simple")
    assert item is not None
    story.world.store.delete(object_ref(item))
    story.settle()
    assert replicas(story) == 7


def test_a_cluster_of_dask_kubernetes_is_not_scaled() -> None:
    story = Story(cluster())
    item = story.named(CLUSTER)
    assert item is not None
    story.world.store.write_status(object_ref(item), {"phase": "Running"})
    story.world.submit(autoscaler())
    story.settle()
    assert why(story)[1] == "MadeByDaskKubernetes"


def test_a_starting_cluster_is_reported_only_after_30_s() -> None:
    story = Story(cluster())
    story.world.submit(autoscaler())
    story.settle()
    after(story, 29)
    assert status(story) == {}
    after(story, 1)
    assert why(story)[:2] == ("False", "SchedulerMissing")


# Status


def test_the_status_has_count_reason_and_time() -> None:
    story = scaled(2)
    assert status(story)["message"] == "no change is due: stays at 2."
    story.world.advance(100)
    wants(story, 50)
    found = status(story)
    assert (found["desired"], found["current"], found["reason"]) == (10, 10, "MoreWanted")
    assert found["message"] == (
        "the scheduler wants 50 workers, the maximum is 10: scaled from 2 to 10."
    )
    assert found["lastScaleTime"] == format_time(START.replace(minute=1, second=45))
    assert why(story) == ("True", "Following", "simple-default follows the scheduler.")


# Requests


def test_a_decision_costs_3_patches_a_status_and_the_workers() -> None:
    story = scaled(2)
    after(story, 30)
    before = len(story.writes)
    story.world.want(simple_default=8)
    story.after(5)
    writes = story.writes[before:]
    of_workers = [w for w in writes if w.startswith("create Pod/")]
    assert len(of_workers) == 6
    # The cluster's own count and the record of the agreed count follow (design §4a).
    assert sorted(w for w in writes if w not in of_workers) == [
        "patch DaskCluster/simple",
        PATCH,
        PATCH,
        "status DaskAutoscaler/simple",
    ]


def test_a_steady_group_needs_no_requests_though_the_scheduler_is_asked_every_5_s() -> None:
    life = autoscaled_life()
    before = len(life.requests())
    for second in range(200, 800, 5):
        life.at(second, life.world.schedulers_answer)
        life.at(second + 1, lambda: life.world.want(simple_default=3))
    life.until(800)
    assert life.requests()[before:] == []


def test_demand_that_oscillates_within_the_window_needs_no_requests_after_the_first_rise() -> None:
    life = autoscaled_life()
    before = len(life.requests())
    for second in range(200, 1400, 5):
        wish = 3 if second % 50 < 25 else 1
        life.at(second, lambda wish=wish: life.world.want(simple_default=wish))  # type: ignore[misc]
    life.until(1400)
    assert life.requests()[before:] == []


def test_the_window_ends_by_time_alone() -> None:
    """The scheduler's answers no longer change at that time."""
    life = autoscaled_life()
    life.at(200, lambda: life.world.want(simple_default=1))
    life.until(259)
    assert replicas(life) == 3
    life.until(261)
    assert replicas(life) == 1


def autoscaled_life() -> Life:
    """Return a cluster with 3 running and wanted workers, at 200 s, with all statuses written."""
    life = Life(cluster())
    life.world.submit(autoscaler())
    for second in range(1, 60):
        life.at(second, life.world.start_all)
        life.at(second + 0.5, life.world.schedulers_answer)
    life.at(10, lambda: life.world.want(simple_default=3))
    life.until(200)
    assert replicas(life) == 3
    assert life.ready_workers() == 3
    return life


# Jobs


def autoscaled_job(**spec: Any) -> Manifest:
    """Return a job whose workers follow the scheduler."""
    of = cluster_spec(2)
    of["worker"]["autoscaling"] = {"minimum": 1, "maximum": 8}
    return job(cluster={"spec": of}, **spec)


def test_a_job_does_not_undo_its_autoscalers_scaling() -> None:
    story = Story(autoscaled_job())
    story.bring_up()
    story.world.schedulers_answer()
    story.world.want(sums_default=6)
    story.after(5)
    register(story)
    assert replicas(story, "sums-default") == 6
    cluster_now = story.named(CLUSTER, "sums")
    assert cluster_now is not None
    # A user raises the job's own count, though the autoscaler decides it.
    story.edit(cluster={"spec": {"worker": {"replicas": 3}}})
    after(story, 30)
    assert replicas(story, "sums-default") == 6
    assert story.status_of("DaskJob")["workers"]["desired"] == 6
    story.end_runner(0)
    story.kubelet()
    assert story.named(AUTOSCALER, "sums-default") is None
    assert story.word == "Successful"


def test_an_idle_cluster_is_deleted_though_it_is_autoscaled() -> None:
    manifest = cluster(idleTimeout=300)
    manifest["spec"]["worker"]["autoscaling"] = {"minimum": 0, "maximum": 4}
    story = Story(manifest)
    story.bring_up()
    story.world.schedulers_answer(processing=5)
    story.world.want(simple_default=4)
    story.after(5)
    register(story)
    assert replicas(story) == 4
    story.world.schedulers_answer(total=5, done=5, processing=0)
    story.world.want(simple_default=0)
    after(story, 61)
    assert replicas(story) == 0
    after(story, 240)
    assert story.named(CLUSTER) is None


def test_running_workers_are_asked_to_retire_when_the_group_shrinks() -> None:
    story = scaled(4)
    wants(story, 2, 60)
    after(story, 5)
    assert any(w.startswith("retire ") for w in story.writes)
    assert len([p for p in map(pod_facts, story.workers()) if not p.deleting]) == 2


def test_a_running_job_without_autoscaling_is_unchanged() -> None:
    """No autoscaler is created unless the spec has one."""
    story = running()
    assert not [o for o in story.world.store.all() if o["kind"] == AUTOSCALER]
