"""A DaskCluster: its phases, counts with several writers, and idleness (design §2.3, §4a)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daskjob.core.decision import NOTHING
from daskjob.core.errors import RejectionKind
from daskjob.core.manifests import Key, Manifest, object_ref
from daskjob.core.policies.replicas import merged_replicas
from tests.core.manifests import cluster, cluster_spec, job
from tests.core.stories import CLUSTER, GROUP, Story, running

SIMPLE = Key(CLUSTER, "default", "simple")


def phase(story: Story, name: str = "simple") -> str:
    """Return the phase of a cluster."""
    return str(story.status_of(CLUSTER, name).get("phase"))


def spec_replicas(story: Story, kind: str, name: str) -> int:
    """Return the replicas in the spec of a cluster or a group."""
    item = story.named(kind, name)
    assert item is not None
    return int(item["spec"]["worker"]["replicas"])


def patch(story: Story, kind: str, name: str, replicas: int) -> None:
    """Set a count as ``kubectl scale`` does."""
    item = story.named(kind, name)
    assert item is not None
    body: Manifest = {"spec": {"worker": {"replicas": replicas}}}
    story.world.store.patch(object_ref(item), body)


def up(**spec: Any) -> Story:
    """Return a cluster with 2 ready workers."""
    story = Story(cluster(**spec))
    story.bring_up()
    return story


# Phases


def test_the_first_pass_reports_created_and_creates_everything_at_once() -> None:
    decision = Story(cluster()).decision()
    assert decision.status is not None
    assert decision.status["phase"] == "Created"
    assert [m["kind"] for m in decision.create] == ["Pod", "Service", "DaskWorkerGroup"]


def test_the_phases_are_created_pending_running() -> None:
    story = Story(cluster())
    story.one_pass()
    story.settle()
    assert phase(story) == "Created"
    story.after(5)
    assert phase(story) == "Pending"
    story.world.start(story.scheduler())
    story.settle()
    assert phase(story) == "Running"


def test_a_scheduler_that_is_briefly_not_ready_leaves_the_phase_running() -> None:
    story = up()
    story.world._set(story.scheduler(), conditions=[{"type": "Ready", "status": "False"}])
    story.after(1000)
    assert phase(story) == "Running"


def test_a_lost_scheduler_ends_the_phase_running_and_is_replaced() -> None:
    story = up()
    story.world.lose(story.scheduler())
    story.settle()
    assert phase(story) == "Pending"
    story.bring_up()
    assert phase(story) == "Running"


def test_an_ended_scheduler_is_deleted_and_replaced() -> None:
    story = up()
    story.world.exit(story.scheduler(), 1)
    story.settle()
    story.after(1)
    story.bring_up()
    assert story.writes.count("create Pod/simple-scheduler") == 2
    assert phase(story) == "Running"


def test_in_a_jobs_cluster_a_lost_scheduler_is_an_error_and_not_replaced() -> None:
    story = running()
    story.world.lose(story.scheduler())
    story.one_pass(Key(CLUSTER, "default", "sums"))
    assert phase(story, "sums") == "Error"
    assert story.one_pass(Key(CLUSTER, "default", "sums")) == []
    assert story.writes.count("create Pod/sums-scheduler") == 1


def test_a_spec_with_mistakes_is_an_error_that_lists_them() -> None:
    manifest = cluster(idleTimeout=-1)
    story = Story(manifest)
    story.settle()
    assert phase(story) == "Error"
    condition = story.status_of(CLUSTER)["conditions"][0]
    assert condition["reason"] == "InvalidSpec"
    assert "spec.idleTimeout" in condition["message"]
    assert not any(w.startswith("create") for w in story.writes)


def test_the_status_serves_the_scale_subresource() -> None:
    status = up().status_of(CLUSTER)
    assert (status["replicas"], status["readyReplicas"]) == (2, 2)
    assert status["selector"] == (
        "dask.org/cluster-name=simple,dask.org/workergroup-name=simple-default"
    )


# Counts


@pytest.mark.parametrize(
    ("of_cluster", "of_group", "base", "expected"),
    [
        (2, 2, 2, 2),
        (5, 2, 2, 5),
        (2, 5, 2, 5),
        (3, 5, 2, 3),
        (2, 5, None, 2),
        (0, 2, 2, 0),
        (2, 0, 2, 0),
        (4, 4, 2, 4),
    ],
    ids=[
        "neither",
        "the cluster",
        "the group",
        "both: the cluster",
        "no base: the cluster",
        "to 0 by the cluster",
        "to 0 by the group",
        "both to the same",
    ],
)
def test_the_side_that_differs_from_the_base_wins(
    of_cluster: int, of_group: int, base: int | None, expected: int
) -> None:
    assert merged_replicas(of_cluster, of_group, base) == expected


@pytest.mark.parametrize(
    ("kind", "name"), [(CLUSTER, "simple"), (GROUP, "simple-default")], ids=["cluster", "group"]
)
@pytest.mark.parametrize("replicas", [0, 5])
def test_the_cluster_follows_its_group_and_the_group_its_cluster(
    kind: str, name: str, replicas: int
) -> None:
    story = up()
    patch(story, kind, name, replicas)
    story.settle()
    assert spec_replicas(story, CLUSTER, "simple") == replicas
    assert spec_replicas(story, GROUP, "simple-default") == replicas
    assert agreed_on(story) == replicas
    story.bring_up()
    story.world.schedulers_answer()
    story.after(30)
    story.after(30)
    assert story.status_of(CLUSTER)["syncedReplicas"] == replicas


def agreed_on(story: Story) -> int:
    """Return the agreed count that the group records."""
    item = story.named(GROUP, "simple-default")
    assert item is not None
    return int(item["metadata"]["annotations"]["kubernetes.dask.org/synced-replicas"])


def test_scaling_the_cluster_is_one_patch_which_includes_the_agreed_count() -> None:
    story = up()
    patch(story, CLUSTER, "simple", 5)
    assert story.one_pass(SIMPLE) == ["patch DaskWorkerGroup/simple-default"]
    assert (spec_replicas(story, GROUP, "simple-default"), agreed_on(story)) == (5, 5)
    # The next scaling of the group counts as its own change, whatever was written meanwhile.
    patch(story, GROUP, "simple-default", 3)
    story.settle()
    assert spec_replicas(story, CLUSTER, "simple") == 3


def test_group_without_a_record_is_compared_with_the_clusters_status() -> None:
    story = up()
    item = story.named(GROUP, "simple-default")
    assert item is not None
    nothing = {"metadata": {"annotations": {"kubernetes.dask.org/synced-replicas": None}}}
    story.world.store.patch(object_ref(item), nothing)
    story.settle()
    patch(story, GROUP, "simple-default", 4)
    story.settle()
    assert (spec_replicas(story, CLUSTER, "simple"), agreed_on(story)) == (4, 4)


def test_where_both_were_scaled_the_cluster_wins() -> None:
    story = up()
    patch(story, GROUP, "simple-default", 7)
    patch(story, CLUSTER, "simple", 3)
    story.settle()
    assert spec_replicas(story, GROUP, "simple-default") == 3


def test_after_a_crash_between_two_writes_a_scaled_group_still_wins() -> None:
    for fault in range(4):
        story = up()
        patch(story, GROUP, "simple-default", 5)
        story.world.faults = [None] * fault + [False, False]
        story.settle()
        counts = (
            spec_replicas(story, CLUSTER, "simple"),
            spec_replicas(story, GROUP, "simple-default"),
        )
        assert counts in {(5, 5), (2, 2)}
        assert counts == (5, 5), fault


def test_further_groups_are_created_with_their_own_counts() -> None:
    more = {"name": "gpu", "replicas": 3, "spec": cluster_spec()["worker"]["spec"]}
    story = up(workerGroups=[more])
    assert len(story.workers()) == 5
    assert spec_replicas(story, GROUP, "simple-gpu") == 3


def test_a_count_in_the_jobs_spec_reaches_its_workers() -> None:
    story = running()
    story.edit(cluster={"spec": {"worker": {"replicas": 4}}})
    assert spec_replicas(story, CLUSTER, "sums") == 4
    assert len(story.workers()) == 4


@pytest.mark.parametrize(
    ("kind", "name"), [(CLUSTER, "sums"), (GROUP, "sums-default")], ids=["cluster", "group"]
)
def test_a_jobs_cluster_scaled_by_a_user_stays_scaled(kind: str, name: str) -> None:
    story = running()
    patch(story, kind, name, 5)
    story.settle()
    assert spec_replicas(story, GROUP, "sums-default") == 5
    assert len(story.workers()) == 5


# Idleness


def idle(seconds: int = 60) -> Story:
    """Return a cluster with an idle timeout and an idle scheduler."""
    story = up(idleTimeout=seconds)
    story.world.schedulers_answer(total=3, done=3)
    return story


def test_a_cluster_idle_for_60_s_is_deleted() -> None:
    story = idle()
    story.after(59)
    assert story.named(CLUSTER) is not None
    story.after(1)
    assert story.named(CLUSTER) is None


def test_a_busy_cluster_stays() -> None:
    story = up(idleTimeout=60)
    story.world.schedulers_answer(total=3, processing=1)
    story.after(1000)
    assert story.named(CLUSTER) is not None


def test_an_unreachable_scheduler_is_not_idle() -> None:
    story = up(idleTimeout=60)
    story.after(1000)
    assert story.named(CLUSTER) is not None


def test_without_an_idle_timeout_a_cluster_stays() -> None:
    story = idle(seconds=0)
    story.after(1_000_000)
    assert story.named(CLUSTER) is not None


def test_the_cluster_of_a_running_runner_is_never_idle() -> None:
    story = running(cluster={"spec": cluster_spec(idleTimeout=60)})
    story.world.schedulers_answer(total=3, done=3)
    story.after(1000)
    assert story.word == "Running"
    assert story.named(CLUSTER) is not None


def test_a_cluster_referenced_by_a_job_with_a_running_runner_is_never_idle() -> None:
    story = idle()
    story.world.submit(job(clusterRef={"name": "simple"}))
    story.bring_up()
    story.after(1000)
    assert story.named(CLUSTER) is not None


def test_delete_workers_deletes_every_group_and_creates_none_again() -> None:
    story = up()
    item = story.named(CLUSTER)
    assert item is not None
    mark = {"metadata": {"annotations": {"kubernetes.dask.org/delete-workers": "true"}}}
    story.world.store.patch(object_ref(item), mark)
    story.settle()
    story.kubelet()
    assert story.named(GROUP, "simple-default") is None
    assert story.pod_names() == ["simple-scheduler"]
    assert phase(story) == "Running"


def test_a_terminating_cluster_is_not_touched() -> None:
    story = Story(cluster())
    item = story.named(CLUSTER)
    assert item is not None
    mark = {"metadata": {"deletionTimestamp": "2026-01-01T12:00:00Z", "finalizers": ["a.org/b"]}}
    story.world.store.patch(object_ref(item), mark)
    assert story.decision() == NOTHING


def test_the_token_of_a_scheduler_is_not_changed_by_a_later_pass() -> None:
    story = Story(cluster())
    story.world.platform = replace(story.world.platform, agent="x = 1")
    story.bring_up()
    before = story.scheduler()["spec"]
    story.after(1000)
    assert story.scheduler()["spec"] == before


def in_the_way(story: Story) -> tuple[str, str, str]:
    """Return status, reason and message of the cluster's condition ``WorkersReady``."""
    found = {c["type"]: c for c in story.status_of(CLUSTER)["conditions"]}
    ready = found["WorkersReady"]
    return ready["status"], ready["reason"], ready["message"]


def test_a_taken_group_name_is_reported_on_the_cluster_until_it_is_free() -> None:
    story = Story(cluster())
    taken = "DaskWorkerGroup default/simple-default already exists and is not the cluster's"
    story.world.reject["simple-default"] = (RejectionKind.CONFLICT, taken)
    story.bring_up()
    status, reason, message = in_the_way(story)
    assert (status, reason, taken in message) == ("False", "NameConflict", True)
    story.world.reject.clear()
    story.after(600)
    story.after(600)
    assert [c["type"] for c in story.status_of(CLUSTER)["conditions"]] == ["SchedulerReady"]


def test_a_taken_autoscaler_name_is_reported_even_if_the_scheduler_answers() -> None:
    story = up()
    taken = "DaskAutoscaler default/simple-default already exists and is not the cluster's"
    story.world.reject["simple-default"] = (RejectionKind.CONFLICT, taken)
    story.edit(worker={"autoscaling": {"minimum": 1, "maximum": 3}})
    status, reason, message = in_the_way(story)
    assert (status, reason, taken in message) == ("False", "NameConflict", True)
    assert story.status_of(CLUSTER)["conditions"][0]["reason"] == "Answers"


def test_scaling_a_steady_cluster_writes_its_counts_once_at_the_end() -> None:
    story = up()
    story.after(600)
    before = len(story.writes)
    patch(story, CLUSTER, "simple", 5)
    story.bring_up()
    story.after(60)
    statuses = [w for w in story.writes[before:] if w == "status DaskCluster/simple"]
    assert len(statuses) == 1
    assert story.status_of(CLUSTER)["readyReplicas"] == 5
