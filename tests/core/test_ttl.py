"""The deletion of finished jobs (design §3.1)."""

from __future__ import annotations

from datetime import timedelta

from tests.core.stories import ended, running


def test_ttl_counts_from_completion_not_creation() -> None:
    story = running(ttlSecondsAfterFinished=60)
    story.after(1000)
    story.end_runner(0)
    story.after(59)
    assert story.named("DaskJob") is not None
    story.after(1)
    assert story.named("DaskJob") is None


def test_the_jobs_objects_are_deleted_with_it() -> None:
    story = ended(0, ttlSecondsAfterFinished=60)
    story.after(60)
    story.kubelet()
    assert list(story.world.store.all()) == []


def test_a_failed_job_is_deleted_too() -> None:
    story = ended(1, ttlSecondsAfterFinished=60, backoffLimit=0)
    story.after(60)
    assert story.named("DaskJob") is None


def test_without_a_ttl_a_job_stays() -> None:
    story = ended(0)
    story.after(10_000_000)
    assert story.named("DaskJob") is not None


def test_a_job_that_is_retried_is_not_finished() -> None:
    story = ended(1, ttlSecondsAfterFinished=5)
    story.after(9)
    assert story.named("DaskJob") is not None


def test_a_ttl_set_after_the_end_counts_from_the_end() -> None:
    story = ended(0)
    story.after(100)
    story.edit(ttlSecondsAfterFinished=60)
    assert story.named("DaskJob") is None


def test_a_pass_asks_to_be_woken_when_the_ttl_expires() -> None:
    story = ended(0, ttlSecondsAfterFinished=60)
    story.kubelet()
    assert story.decision().wake_at == story.world.now + timedelta(seconds=60)
