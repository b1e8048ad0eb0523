"""The three deadlines: of the job, of an attempt, of a start (design §3.1)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from daskjob.backends.fake import START
from daskjob.core.errors import RejectionKind
from tests.core.stories import job_story, running


def test_a_job_ends_as_deadline_exceeded_after_100_active_seconds_and_not_before() -> None:
    story = running(activeDeadlineSeconds=100)
    story.after(99)
    assert story.word == "Running"
    story.after(1)
    assert (story.word, story.status.reason) == ("Failed", "DeadlineExceeded")


DEADLINES = pytest.mark.parametrize("field", ["activeDeadlineSeconds", "attemptDeadlineSeconds"])


@DEADLINES
def test_deadline_names_the_image_that_could_not_be_pulled(field: str) -> None:
    story = job_story(**{field: 100}, backoffLimit=0)
    story.settle()
    story.world.wait_with(story.runner(), "ImagePullBackOff", "no such image")
    story.after(100)
    assert story.status.finished
    assert "cannot be pulled: no such image" in story.status.message


@DEADLINES
def test_deadline_names_the_quota(field: str) -> None:
    story = job_story(**{field: 100}, backoffLimit=0)
    story.world.reject["-runner"] = (RejectionKind.QUOTA, "exceeded quota: small")
    story.settle()
    story.after(100)
    assert story.status.finished
    assert "could not be created: exceeded quota: small" in story.status.message


@DEADLINES
@pytest.mark.parametrize(
    ("done", "progress"),
    [
        (0, ", no task has finished."),
        (1, "the last task made progress at 2026-01-01T12:00:00Z"),
    ],
)
def test_deadline_names_the_tasks_that_no_worker_can_run_and_those_that_run(
    field: str, done: int, progress: str
) -> None:
    story = running(**{field: 100}, backoffLimit=0)
    story.world.schedulers_answer(total=9, done=done, processing=2, waiting=3, no_worker=3)
    story.after(100)
    assert story.status.finished
    message = story.status.message
    assert "3 tasks that no worker can run are waiting, 2 tasks are being processed" in message
    assert progress in message


def test_deadline_of_a_job_between_attempts_names_the_last_failure() -> None:
    story = running(activeDeadlineSeconds=100, backoff={"initialSeconds": 300})
    story.end_runner(1)
    story.after(100)
    assert "while it waited to retry after ExitCode" in story.status.message


def test_a_pass_asks_to_be_woken_when_the_deadline_is_due() -> None:
    story = running(activeDeadlineSeconds=20)
    assert story.decision().wake_at == START + timedelta(seconds=20)


def test_a_job_past_its_deadline_is_never_retried() -> None:
    story = running(activeDeadlineSeconds=100, backoffLimit=6)
    story.after(100)
    assert story.status.finished
    assert len(story.status.attempts) == 1


def test_the_deadline_of_the_job_spans_all_attempts() -> None:
    story = running(activeDeadlineSeconds=100)
    story.after(60)
    story.end_runner(1)
    story.after(30)
    story.bring_up()
    assert (story.word, story.status.attempt) == ("Running", 1)
    story.after(10)
    assert story.status.reason == "DeadlineExceeded"


def test_the_deadline_of_the_job_applies_while_it_waits_for_its_next_attempt() -> None:
    story = running(activeDeadlineSeconds=100, backoff={"initialSeconds": 300})
    story.end_runner(1)
    story.after(100)
    assert story.status.reason == "DeadlineExceeded"
    assert [a.reason for a in story.status.attempts] == ["ExitCode"]


def test_suspended_time_does_not_count_towards_the_jobs_deadline() -> None:
    story = running(activeDeadlineSeconds=100)
    story.after(60)
    story.edit(suspend=True)
    story.after(10_000)
    story.kubelet()
    assert story.status.active_seconds == 60
    story.edit(suspend=False)
    story.bring_up()
    story.after(39)
    assert story.word == "Running"
    story.after(1)
    assert story.status.reason == "DeadlineExceeded"


def test_an_attempt_ends_after_50_s_and_the_next_one_has_50_s_again() -> None:
    story = running(attemptDeadlineSeconds=50)
    story.after(50)
    assert story.status.attempts[0].reason == "AttemptDeadlineExceeded"
    assert story.word == "JobCreated"
    story.kubelet()
    story.after(10)
    story.bring_up()
    story.after(40)
    assert (story.word, story.status.attempt) == ("Running", 1)


def test_an_attempts_deadline_counts_as_a_failure() -> None:
    story = running(attemptDeadlineSeconds=50, backoffLimit=0)
    story.after(50)
    assert (story.word, story.status.reason) == ("Failed", "AttemptDeadlineExceeded")


def test_the_runner_pod_itself_carries_the_attempts_deadline() -> None:
    story = running(attemptDeadlineSeconds=50)
    assert story.runner()["spec"]["activeDeadlineSeconds"] == 50


def test_a_runner_not_running_within_30_s_ends_the_attempt() -> None:
    story = job_story(startupDeadlineSeconds=30, backoffLimit=0)
    story.settle()
    story.after(29)
    assert not story.status.finished
    story.after(1)
    assert story.status.reason == "StartupDeadlineExceeded"


def test_the_startup_deadline_no_longer_applies_once_the_runner_ran() -> None:
    story = running(startupDeadlineSeconds=30)
    story.after(1000)
    assert story.word == "Running"


def test_the_startup_deadline_reports_the_obstacle() -> None:
    story = job_story(startupDeadlineSeconds=30, backoffLimit=0)
    story.settle()
    story.world.unschedulable(story.runner(), "0/3 nodes are available: 3 Insufficient cpu.")
    story.after(30)
    assert "3 Insufficient cpu" in story.status.message


def test_the_startup_deadline_restarts_with_a_resume() -> None:
    story = job_story(startupDeadlineSeconds=30, suspend=True)
    story.after(1000)
    story.edit(suspend=False)
    story.after(29)
    assert story.status.attempt == 0
    story.after(1)
    assert story.status.attempts[0].reason == "StartupDeadlineExceeded"


def test_a_success_observed_in_the_pass_of_the_deadline_wins() -> None:
    story = running(activeDeadlineSeconds=100, attemptDeadlineSeconds=100)
    story.world.advance(100)
    story.end_runner(0)
    assert story.word == "Successful"
