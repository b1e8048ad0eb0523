"""Cancellation stops a job immediately and permanently (design §3.1)."""

from __future__ import annotations

from tests.core.stories import Story, job_story, running


def cancelled() -> Story:
    """Return a running job that was cancelled."""
    story = running()
    story.edit(cancel=True)
    return story


def test_a_cancelled_job_fails_with_the_reason_cancelled() -> None:
    story = cancelled()
    assert (story.word, story.status.reason) == ("Failed", "Cancelled")
    assert story.status.phase == "Cancelled"
    assert story.condition("Failed") == (True, "Cancelled")


def test_the_runner_of_a_cancelled_job_is_stopped_and_kept_and_its_cluster_deleted() -> None:
    story = cancelled()
    story.after(2)
    story.kubelet()
    assert story.pod_names() == ["sums-runner"]
    assert story.named("DaskCluster") is None
    assert "delete Pod/sums-runner" not in story.writes


def test_cancel_cannot_be_undone_by_a_later_change() -> None:
    story = cancelled()
    story.edit(cancel=None)
    story.edit(cancel=False)
    story.after(1000)
    assert (story.word, story.status.reason) == ("Failed", "Cancelled")


def test_the_exit_code_of_the_stopped_runner_does_not_change_the_verdict() -> None:
    story = cancelled()
    story.world.advance(2)
    story.world.kubelet(exit_code_when_stopped=0)
    story.settle()
    assert (story.word, story.status.reason) == ("Failed", "Cancelled")


def test_a_success_observed_in_the_same_pass_wins() -> None:
    story = running()
    story.world.edit(story.key, cancel=True)
    story.end_runner(0)
    assert story.word == "Successful"


def test_a_cancelled_job_is_not_retried() -> None:
    story = running(backoffLimit=6)
    story.edit(cancel=True)
    story.after(1000)
    story.kubelet()
    assert story.pod_names() == ["sums-runner"]


def test_a_job_cancelled_before_its_first_pass_creates_nothing() -> None:
    story = job_story(cancel=True)
    story.settle()
    assert story.writes == ["status DaskJob/sums"]
    assert story.status.reason == "Cancelled"


def test_a_job_can_be_cancelled_while_suspended() -> None:
    story = job_story(suspend=True)
    story.settle()
    story.edit(cancel=True)
    assert (story.word, story.status.phase) == ("Failed", "Cancelled")


def test_a_job_can_be_cancelled_between_attempts() -> None:
    story = running()
    story.end_runner(3)
    story.edit(cancel=True)
    assert story.status.reason == "Cancelled"
    assert [a.reason for a in story.status.attempts] == ["ExitCode"]
    assert story.status.job_runner_pod_name == "sums-runner"


def test_a_cancelled_attempt_does_not_count_as_a_failure() -> None:
    assert cancelled().status.failures == 0
