"""The loss of a scheduler that had answered: its tasks are lost (design §3.1)."""

from __future__ import annotations

import pytest

from daskjob.core.manifests import object_ref
from tests.core.stories import Story, running


def lose(story: Story, how: str) -> None:
    """Lose the scheduler in one of several ways."""
    world, scheduler = story.world, story.scheduler()
    if how == "gone":
        world.lose(scheduler)
    elif how == "restarted":
        world.restart(scheduler, 137, ready=True)
    elif how == "ended":
        world.exit(scheduler, 1)
    elif how == "deleted":
        world.store.delete(object_ref(scheduler))
    story.settle()


WAYS = pytest.mark.parametrize("how", ["gone", "restarted", "ended", "deleted"])


@WAYS
def test_the_loss_of_a_scheduler_that_answered_ends_the_attempt_at_once(how: str) -> None:
    story = running()
    lose(story, how)
    assert story.status.attempts[0].reason == "SchedulerLost"
    assert story.word == "JobCreated"


def test_a_loss_before_the_jobs_status_named_the_scheduler_ends_the_attempt_too() -> None:
    story = running()
    unnamed = {k: v for k, v in story.status_of("DaskJob").items() if k != "schedulerIdentity"}
    job = story.named("DaskJob")
    assert job is not None
    story.world.store.write_status(object_ref(job), unnamed)
    story.world.lose(story.scheduler())
    story.settle()
    assert story.status.attempts[0].reason == "SchedulerLost"


def test_the_loss_is_an_infrastructure_failure_and_not_counted() -> None:
    story = running(backoffLimit=0)
    lose(story, "gone")
    assert (story.status.failures, story.status.ignored) == (0, 1)
    story.kubelet()
    story.after(10)
    story.bring_up()
    assert (story.word, story.status.attempt) == ("Running", 1)


@pytest.mark.parametrize("how", ["gone", "restarted", "ended"])
def test_with_ignore_the_attempt_continues_with_a_new_scheduler(how: str) -> None:
    story = running(onSchedulerLoss="Ignore")
    lose(story, how)
    story.after(1)
    story.bring_up()
    assert (story.word, story.status.attempt) == ("Running", 0)
    assert story.scheduler()["status"]["phase"] == "Running"


@pytest.mark.parametrize("how", ["gone", "ended"])
def test_the_scheduler_of_an_attempt_is_created_only_once(how: str) -> None:
    story = running()
    created = story.writes.count("create Pod/sums-scheduler")
    lose(story, how)
    story.kubelet()
    assert story.writes.count("create Pod/sums-scheduler") == created == 1


def test_a_runner_that_fails_with_its_scheduler_failed_because_of_it() -> None:
    story = running()
    story.world.exit(story.runner(), 1)
    lose(story, "gone")
    attempt = story.status.attempts[0]
    assert (attempt.reason, attempt.exit_code) == ("SchedulerLost", 1)


def test_a_runner_that_exited_with_0_succeeded_even_if_its_scheduler_is_lost() -> None:
    story = running()
    story.world.exit(story.runner(), 0)
    lose(story, "gone")
    assert story.word == "Successful"


def test_a_scheduler_that_is_briefly_not_ready_is_not_lost() -> None:
    story = running()
    pod = story.scheduler()
    story.world._set(pod, conditions=[{"type": "Ready", "status": "False"}])
    story.after(60)
    assert story.word == "Running"


def test_a_scheduler_that_never_answered_cannot_be_lost() -> None:
    story = running()
    story.end_runner(1)
    story.kubelet()
    story.after(10)
    story.world.lose(story.scheduler())
    story.settle()
    assert story.status.attempt == 1
    assert len(story.status.attempts) == 1
    assert story.writes.count("create Pod/sums-scheduler") == 3
