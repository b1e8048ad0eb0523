"""Suspension: no live pods, and only an explicit false resumes (design §2.3, §3.1)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.core.stories import Story, assert_runner_is_deleted_after_90_s, job_story, running


def suspended() -> Story:
    """Return a job that ran for 60 s and was suspended."""
    story = running()
    story.after(60)
    story.edit(suspend=True)
    story.kubelet()
    return story


def test_a_job_created_suspended_creates_nothing() -> None:
    story = job_story(suspend=True)
    story.after(1000)
    assert story.writes == ["status DaskJob/sums"]
    assert (story.word, story.status.phase) == ("JobCreated", "Suspended")
    assert story.condition("Suspended") == (True, "Suspended")


def test_a_job_created_suspended_has_its_policy_frozen_at_once() -> None:
    assert job_story(suspend=True, backoffLimit=3).decision().status is not None
    story = job_story(suspend=True, backoffLimit=3)
    story.settle()
    assert (story.status.policy or {})["backoffLimit"] == 3


def test_start_time_is_absent_while_suspended_and_set_again_by_the_resume() -> None:
    story = job_story(suspend=True)
    story.after(100)
    assert story.status.start_time is None
    story.edit(suspend=False)
    assert story.status.start_time == story.world.now


def test_a_running_jobs_runner_is_stopped_not_deleted_and_its_cluster_deleted() -> None:
    story = suspended()
    assert "stop Pod/sums-runner" in story.writes
    assert "delete Pod/sums-runner" not in story.writes
    story.after(2)
    assert story.named("DaskCluster") is None
    assert story.pod_names() == ["sums-runner"]
    assert story.runner()["status"]["phase"] == "Failed"
    assert (story.word, story.status.phase) == ("JobCreated", "Suspended")


def test_the_status_is_suspended_before_anything_is_stopped_or_deleted() -> None:
    story = running()
    story.world.edit(story.key, suspend=True)
    story.until_a_destructive_step()
    assert story.condition("Suspended") == (True, "Suspended")


def test_the_interrupted_attempt_is_not_counted() -> None:
    story = suspended()
    status = story.status
    assert (status.failures, status.ignored) == (0, 0)
    assert [(a.number, a.reason) for a in status.attempts] == [(0, "Suspended")]
    assert status.attempt == 1


def test_the_60_active_seconds_before_are_recorded() -> None:
    assert suspended().status.active_seconds == 60


def test_a_resumed_job_starts_a_new_attempt() -> None:
    story = suspended()
    story.after(100)
    story.edit(suspend=False)
    story.bring_up()
    assert story.word == "Running"
    assert story.status.job_runner_pod_name == "sums-runner-1"
    assert story.condition("Suspended") == (False, "Resumed")
    assert story.status.start_time == story.world.now


def test_the_new_attempt_waits_for_the_end_of_the_old_runner() -> None:
    story = running()
    story.edit(suspend=True)
    story.edit(suspend=False)
    assert "sums-runner-1" not in story.pod_names()
    story.after(5)
    story.kubelet()
    assert "sums-runner-1" in story.pod_names()


@pytest.mark.parametrize("value", [None], ids=["absent"])
def test_an_update_that_drops_suspend_does_not_resume(value: object) -> None:
    story = suspended()
    story.edit(suspend=value)
    story.after(1000)
    assert story.status.phase == "Suspended"
    assert story.pod_names() == ["sums-runner"]


def test_an_update_that_drops_suspend_false_does_not_suspend() -> None:
    story = running(suspend=False)
    story.edit(suspend=None)
    assert story.word == "Running"


def test_a_job_suspended_between_attempts_starts_none() -> None:
    story = running()
    story.end_runner(1)
    story.edit(suspend=True)
    story.after(1000)
    assert story.status.phase == "Suspended"
    assert story.pod_names() == ["sums-runner"]
    story.edit(suspend=False)
    story.bring_up()
    assert (story.word, story.status.attempt) == ("Running", 1)


def test_a_success_observed_in_the_pass_of_the_suspension_wins() -> None:
    story = running()
    story.world.edit(story.key, suspend=True)
    story.end_runner(0)
    assert story.word == "Successful"


def test_hours_of_suspension_do_not_count_as_waiting_for_earlier_objects() -> None:
    story = suspended()
    story.after(36_000)
    story.edit(suspend=False)
    story.bring_up()
    assert story.word == "Running"


def test_a_runner_still_running_90_s_after_its_stop_is_deleted() -> None:
    story = running()
    story.edit(suspend=True)
    assert_runner_is_deleted_after_90_s(story)


def test_the_active_seconds_of_several_suspensions_are_added_up() -> None:
    story = suspended()
    story.edit(suspend=False)
    story.bring_up()
    resumed = story.status.start_time
    assert resumed is not None
    story.after(30)
    story.edit(suspend=True)
    assert resumed + timedelta(seconds=30) == story.world.now
    assert story.status.active_seconds == 90
