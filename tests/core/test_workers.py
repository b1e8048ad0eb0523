"""A worker group: which pods are created and deleted, without data loss (design §4.5)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from daskjob.core.dask import DaskState, DaskWorker, Retirement
from daskjob.core.decide import decide
from daskjob.core.decision import NOTHING
from daskjob.core.errors import RejectionKind
from daskjob.core.manifests import Key, Manifest, metadata, object_ref
from daskjob.core.observed import ObservedGroup
from tests.core.manifests import cluster, cluster_spec, container, group, pod
from tests.core.stories import CLUSTER, GROUP, Story

DEFAULT = Key(GROUP, "default", "simple-default")


def grown(replicas: int = 3) -> Story:
    """Return a cluster whose workers are all ready and registered."""
    story = Story(cluster(**cluster_spec(replicas)))
    story.bring_up()
    story.world.schedulers_answer()
    assert len(story.workers()) == replicas
    return story


def scale(story: Story, replicas: int) -> None:
    """Scale the default group as kubectl does, and run passes."""
    patch_replicas(story, replicas)
    story.settle()


def patch_replicas(story: Story, replicas: int) -> None:
    """Scale the default group as kubectl does."""
    group = story.named(GROUP, "simple-default")
    assert group is not None
    story.world.store.patch(object_ref(group), {"spec": {"worker": {"replicas": replicas}}})


def name(item: Manifest) -> str:
    """Return the name of an object."""
    return str(metadata(item)["name"])


def deleted(story: Story) -> list[str]:
    """Return the deleted workers."""
    return [w.removeprefix("delete Pod/") for w in story.writes if w.startswith("delete Pod/")]


def condition(story: Story) -> tuple[str, str]:
    """Return reason and message of the group's condition."""
    found = story.status_of(GROUP, "simple-default")["conditions"][0]
    return found["reason"], found["message"]


def known(story: Story) -> DaskState:
    """Return the scheduler's last answer."""
    return next(iter(story.world.dask.values()))


def say(story: Story, *workers: DaskWorker) -> None:
    """Let the scheduler know exactly these workers."""
    for uid, state in story.world.dask.items():
        story.world.dask[uid] = replace(state, workers=workers)


# Creation


def test_scaling_up_by_3_is_one_create_per_worker() -> None:
    story = grown(2)
    before = len(story.writes)
    scale(story, 5)
    creates = [w for w in story.writes[before:] if w.startswith("create")]
    assert len(creates) == len(set(creates)) == 3


def test_a_workers_name_is_its_groups_name_with_10_hex_digits() -> None:
    for worker in grown(2).workers():
        stem, _, suffix = name(worker).rpartition("-")
        assert stem == "simple-default-worker"
        assert len(suffix) == 10
        int(suffix, 16)


def test_no_worker_is_created_before_the_schedulers_pod_and_service() -> None:
    story = Story(group())
    story.settle()
    assert story.workers() == []
    key = story.world.submit(cluster())
    story.world.reject["simple-scheduler"] = (RejectionKind.QUOTA, "full")
    story.settle()
    assert story.workers() == []
    story.world.reject.clear()
    story.after(5)
    assert len(story.workers()) == 4
    assert story.world.store.get(key) is not None


@pytest.mark.parametrize("missing", ["scheduler", "service"])
def test_without_one_of_the_two_no_worker_is_created(missing: str) -> None:
    story = grown(2)
    scale(story, 2)
    observed = asyncio.run(story.world.observe(DEFAULT))
    assert isinstance(observed, ObservedGroup)
    observed = replace(observed, workers=())
    assert len(decide(observed, story.world.now).create) == 2
    if missing == "scheduler":
        observed = replace(observed, scheduler=None)
    else:
        observed = replace(observed, service_exists=False)
    assert decide(observed, story.world.now).create == ()


def test_a_group_with_a_missing_cluster_waits_and_reports_it() -> None:
    story = Story(group())
    story.settle()
    status = story.status_of(GROUP)
    assert status["conditions"][0]["reason"] == "ClusterMissing"


def test_a_lost_worker_is_replaced_at_once_under_a_new_name() -> None:
    story = grown(2)
    names = {name(w) for w in story.workers()}
    story.world.lose(story.workers()[0])
    story.settle()
    after = {name(w) for w in story.workers()}
    assert len(after) == 2
    assert len(after - names) == 1


def test_an_ended_worker_is_deleted_and_replaced_under_a_new_name() -> None:
    story = grown(1)
    gone = name(story.workers()[0])
    story.world.exit(story.workers()[0], 1)
    story.settle()
    assert deleted(story) == [gone]
    story.after(1)
    assert [name(w) == gone for w in story.workers()] == [False]


def test_workers_that_keep_ending_are_replaced_after_1_2_4_seconds() -> None:
    story = grown(1)
    for wait in (1, 2, 4, 8):
        created = len([w for w in story.writes if "create Pod/simple-default" in w])
        story.world.exit(story.workers()[0], 1)
        story.kubelet()
        story.after(wait - 0.5)
        assert story.workers() == []
        story.after(0.5)
        assert len([w for w in story.writes if "create Pod/simple-default" in w]) == created + 1
        story.world.start_all()
        story.settle()


def test_a_worker_that_exited_with_0_is_no_failure_and_replaced_at_once() -> None:
    story = grown(1)
    story.world.exit(story.workers()[0], 0)
    story.settle()
    story.kubelet()
    assert len(story.workers()) == 1
    assert "failures" not in story.status_of(GROUP, "simple-default")


def test_workers_evicted_repeatedly_are_no_failures_and_replaced_at_once() -> None:
    story = grown(2)
    for _ in range(6):
        evicted = story.workers()[0]
        story.world.evict(evicted)
        story.settle()
        story.kubelet()
        assert len(story.workers()) == 2
        assert name(evicted) not in {name(worker) for worker in story.workers()}
        story.world.start_all()
        story.settle()
    assert "failures" not in story.status_of(GROUP, "simple-default")


def test_workers_over_quota_are_reported_and_retried_under_the_same_names() -> None:
    story = Story(cluster(**cluster_spec(2)))
    story.world.reject["-worker-"] = (RejectionKind.QUOTA, "exceeded quota: small")
    story.settle()
    assert "exceeded quota: small" in condition(story)[1]
    rejected = set(story.world.rejections)
    story.after(5)
    assert set(story.world.rejections) == rejected
    story.world.reject.clear()
    story.after(60)
    assert {name(w) for w in story.workers()} == {n.removeprefix("Pod/") for _, n in rejected}
    assert story.world.rejections == {}


# Deletion


def test_a_registered_worker_is_deleted_only_after_the_scheduler_confirmed_it() -> None:
    story = grown(3)
    scale(story, 1)
    retired = next(w for w in story.writes if w.startswith("retire"))
    assert len(deleted(story)) == 2
    assert story.writes.index(retired) < story.writes.index("delete Pod/" + deleted(story)[0])
    story.kubelet()
    assert len(story.workers()) == 1


def test_no_worker_is_deleted_without_confirmation_however_long() -> None:
    story = grown(3)
    story.world.retires = False
    scale(story, 1)
    for _ in range(30):
        story.after(10)
    assert deleted(story) == []
    reason, message = condition(story)
    assert reason == "ScaleDownBlocked"
    assert "did not confirm" in message
    story.world.retires = True
    story.after(10)
    assert len(deleted(story)) == 2


def test_an_unconfirmed_retirement_is_requested_again_after_5_s_and_not_before() -> None:
    story = grown(3)
    story.world.retires = False
    scale(story, 2)
    requests = [w for w in story.writes if w.startswith("retire")]
    assert len(requests) == 1
    story.after(4)
    assert len([w for w in story.writes if w.startswith("retire")]) == 1
    story.after(1)
    assert len([w for w in story.writes if w.startswith("retire")]) == 2


def test_an_unreachable_scheduler_means_no_scale_down_and_a_condition() -> None:
    story = grown(3)
    story.world.dask.clear()
    scale(story, 1)
    story.after(1000)
    assert deleted(story) == []
    assert condition(story)[0] == "ScaleDownBlocked"
    assert "does not respond" in condition(story)[1]


def test_pods_that_never_had_a_node_are_deleted_even_if_the_scheduler_is_unreachable() -> None:
    story = grown(2)
    scale(story, 4)
    fresh = [name(w) for w in story.workers() if not w.get("status")]
    story.world.dask.clear()
    scale(story, 2)
    assert sorted(deleted(story)) == sorted(fresh)


def test_pods_that_never_registered_are_deleted_first() -> None:
    story = grown(2)
    scale(story, 3)
    late = next(name(w) for w in story.workers() if not w.get("status"))
    scale(story, 2)
    assert deleted(story) == [late]
    assert not any(w.startswith("retire") for w in story.writes)


def test_the_idlest_registered_worker_is_asked_to_retire() -> None:
    story = grown(3)
    busy = [replace(w, processing=3 - i) for i, w in enumerate(known(story).workers)]
    say(story, *busy)
    scale(story, 2)
    assert f"retire {busy[-1].address}" in story.writes


def test_no_pod_that_ran_counts_as_unregistered_while_a_worker_matches_no_pod() -> None:
    story = grown(2)
    say(story, DaskWorker("custom-name", "tcp://192.168.0.1:4000"))
    scale(story, 0)
    assert deleted(story) == []
    assert condition(story)[0] == "ScaleDownBlocked"


def test_a_pod_that_never_ran_is_deleted_even_while_a_worker_matches_no_pod() -> None:
    story = grown(1)
    scale(story, 2)
    fresh = next(name(w) for w in story.workers() if not w.get("status"))
    say(story, *known(story).workers, DaskWorker("custom-name", "tcp://192.168.0.1:4000"))
    scale(story, 1)
    assert deleted(story) == [fresh]


def test_a_worker_of_another_group_matches_its_pod() -> None:
    story = grown(1)
    story.world.lose(story.workers()[0])
    story.settle()
    story.world.start_all()
    other = DaskWorker("simple-gpu-worker-0123456789", "tcp://192.168.0.1:4000")
    say(story, other)
    scale(story, 0)
    assert len(deleted(story)) == 1


@pytest.mark.parametrize(
    ("ip", "worker_name", "address"),
    [
        ("10.9.9.9", "anything", "tcp://10.9.9.9:4000"),
        ("10.9.9.9", "{name}", "tls://1.2.3.4:4000"),
        ("10.9.9.9", "{name}-0", "tcp://1.2.3.4:4000"),
        ("fd00::7", "anything", "tcp://[fd00::7]:4000"),
    ],
    ids=["by address", "by name", "by the prefix that --nworkers gives", "by IPv6 address"],
)
def test_a_worker_is_matched_to_a_pod_by_address_or_else_by_name(
    ip: str, worker_name: str, address: str
) -> None:
    story = grown(1)
    worker = story.workers()[0]
    story.world._set(worker, podIP=ip)
    say(story, DaskWorker(worker_name.format(name=name(worker)), address))
    scale(story, 0)
    assert f"retire {address}" in story.writes
    assert deleted(story) == [name(worker)]


def test_a_pod_with_2_workers_is_deleted_only_when_both_are_confirmed() -> None:
    story = grown(2)
    first, second = (known(story).workers[n] for n in (0, 1))
    pods = sorted(name(w) for w in story.workers())
    both = [
        DaskWorker(f"{pods[0]}-{n}", f"tcp://1.1.1.1:{4000 + n}", memory=n, processing=n)
        for n in (0, 1)
    ]
    others = [w for w in (first, second) if w.name != pods[0]]
    say(story, *both, *(replace(w, processing=9) for w in others))
    for worker in story.workers():
        story.world._set(worker, podIP=f"10.7.7.{pods.index(name(worker)) + 1}")
    group = story.named(GROUP, "simple-default")
    assert group is not None
    one = Retirement(retired=frozenset({both[0].address}), remaining=frozenset({both[1].address}))
    story.world.retires = False
    uid = str(metadata(group)["uid"])
    story.world.retirements[uid] = replace(one, at=story.world.now)
    scale(story, 1)
    assert deleted(story) == []
    story.world.retires = True
    story.after(10)
    assert f"retire {both[0].address} {both[1].address}" in story.writes
    assert deleted(story) == [pods[0]]


def test_a_confirmation_does_not_hold_for_a_later_pod_with_the_same_address() -> None:
    story = grown(1)
    group = story.named(GROUP, "simple-default")
    assert group is not None
    story.world.retires = False
    address = known(story).workers[0].address
    before = story.world.now - timedelta(seconds=10)
    uid = str(metadata(group)["uid"])
    story.world.retirements[uid] = Retirement(retired=frozenset({address}), at=before)
    scale(story, 0)
    assert deleted(story) == []


@pytest.mark.parametrize(("age", "goes"), [(110, 1), (130, 0)])
def test_a_confirmation_holds_for_120_s(age: int, goes: int) -> None:
    """Later the worker may have been called back, and hold data again."""
    story = grown(1)
    story.after(300)
    group = story.named(GROUP, "simple-default")
    assert group is not None
    story.world.retires = False
    address = known(story).workers[0].address
    then = story.world.now - timedelta(seconds=age)
    uid = str(metadata(group)["uid"])
    story.world.retirements[uid] = Retirement(retired=frozenset({address}), at=then)
    scale(story, 0)
    assert len(deleted(story)) == goes


def test_without_a_scheduler_pod_there_is_no_data_and_workers_are_deleted_at_once() -> None:
    story = grown(3)
    story.world.reject["simple-scheduler"] = (RejectionKind.QUOTA, "full")
    story.world.lose(story.scheduler())
    story.world.dask.clear()
    scale(story, 1)
    assert len(deleted(story)) == 2


def test_a_terminating_group_does_nothing() -> None:
    story = grown(2)
    group = story.named(GROUP, "simple-default")
    assert group is not None
    mark = {"metadata": {"deletionTimestamp": "2026-01-01T12:00:00Z", "finalizers": ["a.org/b"]}}
    story.world.store.patch(object_ref(group), mark)
    scale(story, 0)
    assert story.decision(DEFAULT) == NOTHING


def test_scaling_down_and_up_again_before_anything_was_confirmed_changes_nothing() -> None:
    story = grown(3)
    names = {name(w) for w in story.workers()}
    story.world.retires = False
    scale(story, 1)
    scale(story, 3)
    story.after(5)
    assert {name(w) for w in story.workers()} == names
    assert condition(story)[0] == "AllReady"


def test_a_user_made_group_joins_the_cluster_that_it_names() -> None:
    story = Story(cluster())
    spec = group()
    spec["spec"]["worker"]["spec"] = pod(container("worker", "dask-worker"))
    story.world.submit(spec)
    story.bring_up()
    labels = [metadata(w)["labels"]["dask.org/workergroup-name"] for w in story.workers()]
    assert sorted(labels) == ["simple-default"] * 2 + ["simple-more"] * 2
    assert story.status_of(GROUP, "simple-more")["readyReplicas"] == 2
    assert story.status_of(CLUSTER, "simple")["replicas"] == 2


def test_a_group_of_a_deleted_cluster_waits_for_its_own_deletion_and_writes_nothing() -> None:
    story = grown(3)
    story.world.store.collection_paused = True
    owner = story.named("DaskCluster", "simple")
    assert owner is not None
    story.world.store.delete(object_ref(owner))
    story.world.advance(60)
    assert story.one_pass(DEFAULT) == []


def test_retired_workers_that_are_wanted_again_are_replaced() -> None:
    """They take no more tasks: a group that counts them would really be smaller."""
    story = grown(4)
    before = {name(worker) for worker in story.workers()}
    patch_replicas(story, 2)
    assert [w.split()[0] for w in story.one_pass(DEFAULT)] == ["retire"]
    patch_replicas(story, 4)
    story.world.schedulers_answer()
    story.kubelet()
    story.kubelet()
    assert len(deleted(story)) == 2
    now = {name(worker) for worker in story.workers()}
    assert (len(now), len(now & before)) == (4, 2)
    assert not now & set(deleted(story))


def test_workers_released_by_another_scheduler_stay_if_none_is_surplus() -> None:
    story = grown(4)
    patch_replicas(story, 2)
    story.one_pass(DEFAULT)
    patch_replicas(story, 4)
    # As before: the current scheduler knows nothing of a retirement.
    story.kubelet()
    assert deleted(story) == []


def test_workers_retired_before_a_restart_are_deleted_before_idle_ones() -> None:
    story = grown(4)
    retired = sorted(known(story).workers, key=lambda worker: worker.memory)[2:]
    rest = [worker for worker in known(story).workers if worker not in retired]
    say(story, *rest, *(replace(worker, processing=3, retiring=True) for worker in retired))
    scale(story, 2)
    assert set(deleted(story)) == {worker.name for worker in retired}
