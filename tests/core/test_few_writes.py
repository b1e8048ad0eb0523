"""Every status write wakes outside controllers: few writes (design §2.3, §5.2)."""

from __future__ import annotations

from daskjob.core.manifests import Key
from tests.core.manifests import cluster_spec
from tests.core.stories import JOB, Story, job_story


def status_writes(story: Story, kind: str = JOB) -> int:
    """How often the status of a kind was written."""
    return sum(1 for w in story.writes if w.startswith(f"status {kind}/"))


def with_10_workers() -> Story:
    """A job whose scheduler and runner run and whose 10 workers wait."""
    story = job_story(cluster={"spec": cluster_spec(replicas=10)})
    story.settle()
    story.world.start(story.scheduler())
    story.world.start(story.runner())
    story.settle()
    return story


def test_10_workers_that_get_ready_within_a_second_are_1_write_of_the_jobs_status() -> None:
    story = with_10_workers()
    before = status_writes(story)
    for worker in story.workers():
        story.world.advance(0.1)
        story.world.start(worker)
        story.settle()
    assert story.status.workers is not None
    assert story.status.workers.ready == 10
    assert status_writes(story) - before == 1


def test_counts_that_change_alone_are_written_after_5_s() -> None:
    story = with_10_workers()
    before = status_writes(story)
    story.world.start(story.workers()[0])
    story.after(4)
    assert status_writes(story) == before
    story.after(1)
    assert status_writes(story) == before + 1
    assert story.status.workers is not None
    assert story.status.workers.ready == 1


def test_a_pass_that_holds_a_count_back_asks_to_be_woken_to_write_it() -> None:
    story = with_10_workers()
    story.world.start(story.workers()[0])
    wake_at = story.decision(Key(JOB, "default", "sums")).wake_at
    assert wake_at is not None
    assert (wake_at - story.world.now).total_seconds() == 5


def test_progress_is_written_every_30_s_at_the_most() -> None:
    story = with_10_workers()
    story.world.start_all()
    story.settle()
    story.world.say(total=1000, processing=2)
    story.settle()
    before = status_writes(story)
    for done in range(60):
        story.world.say(total=1000, done=done, processing=2)
        story.after(1)
    assert status_writes(story) - before == 2


def test_with_an_interval_of_0_no_progress_is_written() -> None:
    story = job_story(progress={"intervalSeconds": 0})
    story.bring_up()
    story.world.say(total=3, processing=1)
    story.after(60)
    assert story.status.progress is None


def test_a_job_from_creation_to_its_end_is_at_most_6_writes_of_its_status() -> None:
    story = job_story()
    story.bring_up()
    story.end_runner(0)
    story.kubelet()
    assert status_writes(story) <= 6
