"""Workers are created in batches if configured (the chart's ``workerAllocation``)."""

from __future__ import annotations

from dataclasses import replace

from daskjob.core.manifests import Key, object_ref
from tests.core.manifests import cluster, cluster_spec
from tests.core.stories import GROUP, Story

DEFAULT = Key(GROUP, "default", "simple-default")


def begun(replicas: int, size: int, seconds: int = 1) -> Story:
    """Return a cluster that wants this number of workers, after its first batch."""
    story = Story(cluster(**cluster_spec(replicas)))
    platform = replace(story.world.platform, worker_batch_size=size, worker_batch_seconds=seconds)
    story.world.platform = platform
    story.settle()
    return story


def test_all_workers_are_created_at_once_by_default() -> None:
    assert len(begun(50, size=0).workers()) == 50


def test_workers_are_created_2_at_a_time_and_10_seconds_apart() -> None:
    story = begun(5, size=2, seconds=10)
    assert len(story.workers()) == 2
    story.after(9)
    assert len(story.workers()) == 2
    story.after(1)
    assert len(story.workers()) == 4
    story.after(10)
    assert len(story.workers()) == 5


def test_pass_asks_to_be_woken_for_the_next_batch() -> None:
    story = begun(5, size=2, seconds=10)
    # Counts are written by then.
    story.after(6)
    wake_at = story.decision(DEFAULT).wake_at
    assert wake_at is not None
    assert (wake_at - story.world.now).total_seconds() == 4
    story.after(14)
    assert not story.decision(DEFAULT).create


def test_any_number_of_passes_creates_one_batch() -> None:
    story = begun(5, size=2, seconds=10)
    for _ in range(3):
        story.one_pass(DEFAULT)
    assert len(story.workers()) == 2


def test_lost_worker_is_replaced_at_once_when_the_last_batch_is_over() -> None:
    story = begun(2, size=2, seconds=10)
    story.after(10)
    story.world.store.delete(object_ref(story.workers()[0]))
    story.after(0)
    assert len(story.workers()) == 2


def test_scaling_down_is_not_delayed() -> None:
    story = begun(4, size=1, seconds=10)
    group = story.named(GROUP, "simple-default")
    assert group is not None
    story.world.store.patch(object_ref(group), {"spec": {"worker": {"replicas": 0}}})
    story.settle()
    story.kubelet()
    assert story.workers() == []
