"""A repeated pass does nothing, in every phase of every kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from daskjob.core.errors import RejectionKind
from daskjob.core.manifests import object_ref
from daskjob.core.reconcile import reconcile
from tests.core.manifests import cluster, cluster_spec, group
from tests.core.stories import GROUP, Story, ended, job_story, running


def settled(story: Story) -> Story:
    """Return the story once nothing changes any more."""
    story.settle()
    return story


def pending() -> Story:
    return settled(job_story())


def unschedulable() -> Story:
    story = pending()
    story.world.unschedulable(story.runner(), "0/3 nodes are available")
    return settled(story)


def out_of_quota() -> Story:
    story = job_story()
    story.world.reject["sums"] = (RejectionKind.QUOTA, "exceeded quota")
    return settled(story)


def scheduler_ready() -> Story:
    story = pending()
    story.world.start(story.scheduler())
    return settled(story)


def half_the_workers() -> Story:
    story = scheduler_ready()
    story.world.start(story.workers()[0])
    return settled(story)


def with_progress() -> Story:
    story = running()
    story.world.schedulers_answer(total=10, done=3, processing=2)
    return settled(story)


def stalled() -> Story:
    story = running(stallDeadlineSeconds=60)
    story.world.schedulers_answer(total=3, processing=1)
    story.after(60)
    return story


def retrying() -> Story:
    return ended(1)


def between_attempts_and_clean() -> Story:
    story = ended(1)
    story.kubelet()
    return story


def second_attempt() -> Story:
    story = between_attempts_and_clean()
    story.after(10)
    story.bring_up()
    return story


def suspended_at_once() -> Story:
    return settled(job_story(suspend=True))


def suspended() -> Story:
    story = running()
    story.edit(suspend=True)
    story.after(2)
    return story


def suspending() -> Story:
    story = running()
    story.edit(suspend=True)
    return story


def successful() -> Story:
    story = ended(0)
    story.kubelet()
    return story


def successful_and_stripped() -> Story:
    story = ended(0, deletionPolicy={"onSuccess": "DeleteWorkers"})
    story.kubelet()
    return story


def successful_and_kept() -> Story:
    return ended(0, deletionPolicy={"onSuccess": "Keep"})


def failed() -> Story:
    return ended(1, backoffLimit=0)


def cancelled() -> Story:
    story = running()
    story.edit(cancel=True)
    return story


def invalid() -> Story:
    return settled(job_story(backoffLimit=-1))


def waiting_for_a_cluster() -> Story:
    return settled(job_story(clusterRef={"name": "simple"}))


def changed_template() -> Story:
    story = running()
    story.edit(cluster={"spec": cluster_spec(idleTimeout=5)})
    return story


def scaled() -> Story:
    story = running()
    story.edit(cluster={"spec": {"worker": {"replicas": 4}}})
    return story


def managed_by_another() -> Story:
    return settled(job_story(managedBy="kueue.x-k8s.io/multikueue"))


def cluster_pending() -> Story:
    return settled(Story(cluster()))


def cluster_running() -> Story:
    story = Story(cluster())
    story.bring_up()
    return story


def cluster_invalid() -> Story:
    return settled(Story(cluster(idleTimeout=-1)))


def cluster_without_its_scheduler() -> Story:
    story = cluster_running()
    story.world.lose(story.scheduler())
    return settled(story)


def group_without_a_cluster() -> Story:
    return settled(Story(group()))


def group_scaled_up() -> Story:
    story = cluster_running()
    _scale(story, 5)
    return story


def group_scaled_down() -> Story:
    story = cluster_running()
    story.world.schedulers_answer()
    _scale(story, 1)
    story.kubelet()
    return story


def group_blocked() -> Story:
    story = cluster_running()
    story.world.schedulers_answer()
    story.world.retires = False
    _scale(story, 1)
    return story


def group_with_a_failure() -> Story:
    story = cluster_running()
    story.world.exit(story.workers()[0], 1)
    story.settle()
    story.kubelet()
    return story


def _scale(story: Story, replicas: int) -> None:
    item = story.named(GROUP, "simple-default")
    assert item is not None
    story.world.store.patch(object_ref(item), {"spec": {"worker": {"replicas": replicas}}})
    story.settle()


PHASES: list[Callable[[], Story]] = [
    pending,
    unschedulable,
    out_of_quota,
    scheduler_ready,
    half_the_workers,
    running,
    with_progress,
    stalled,
    retrying,
    between_attempts_and_clean,
    second_attempt,
    suspended_at_once,
    suspending,
    suspended,
    successful,
    successful_and_stripped,
    successful_and_kept,
    failed,
    cancelled,
    invalid,
    waiting_for_a_cluster,
    changed_template,
    scaled,
    managed_by_another,
    cluster_pending,
    cluster_running,
    cluster_invalid,
    cluster_without_its_scheduler,
    group_without_a_cluster,
    group_scaled_up,
    group_scaled_down,
    group_blocked,
    group_with_a_failure,
]
#: These wait for state that only the process has; after a restart it must ask again.
ASK_AGAIN = {out_of_quota, with_progress, stalled, group_scaled_down, group_blocked}


def passes_over_everything(story: Story) -> tuple[list[str], int]:
    """Run one pass over every object; return the writes and the number of emitted events."""
    writes, events = len(story.writes), len(story.world.events)
    for key in story.world.subjects():
        asyncio.run(reconcile(story.world, key, story.world.now))
    return story.writes[writes:], len(story.world.events) - events


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
def test_a_second_pass_does_nothing(phase: Callable[[], Story]) -> None:
    assert passes_over_everything(phase()) == ([], 0)


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
def test_a_pass_a_tenth_of_a_second_later_does_nothing(phase: Callable[[], Story]) -> None:
    story = phase()
    story.world.advance(0.1)
    assert passes_over_everything(story) == ([], 0)


@pytest.mark.parametrize(
    "phase", [p for p in PHASES if p not in ASK_AGAIN], ids=lambda phase: phase.__name__
)
def test_a_restart_of_the_operator_writes_nothing(phase: Callable[[], Story]) -> None:
    story = phase()
    story.world.forget()
    assert passes_over_everything(story) == ([], 0)


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
def test_deciding_changes_no_observed_object(phase: Callable[[], Story]) -> None:
    story = phase()
    for key in story.world.subjects():
        before = asyncio.run(story.world.observe(key))
        decision = story.decision(key)
        again = story.decision(key)
        after = asyncio.run(story.world.observe(key))
        assert before is not None
        assert after is not None
        assert _without_entropy(before) == _without_entropy(after)
        assert decision.status == again.status


def _without_entropy(observed: object) -> str:
    """Return a description without fresh randomness."""
    text = repr(observed)
    head, _, tail = text.partition("entropy='")
    return head + tail.partition("'")[2]
