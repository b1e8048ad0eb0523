"""A stall: the runner runs and no task moves (design §3.1)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daskjob.core.dask import DaskWorker, dask_state
from tests.core.stories import Story, running


def moving(**spec: object) -> Story:
    """A running job whose scheduler has just moved a task."""
    story = running(stallDeadlineSeconds=60, **spec)
    story.world.say(total=10, processing=2)
    story.settle()
    return story


def test_no_task_moved_for_60_s_is_a_condition_and_the_job_runs_on() -> None:
    story = moving()
    story.after(59)
    assert story.condition("Stalled") is None
    story.after(1)
    assert story.condition("Stalled") == (True, "NoProgress")
    assert story.word == "Running"


def test_a_task_that_moves_ends_the_stall() -> None:
    story = moving()
    story.after(60)
    story.world.say(total=10, processing=1, done=1)
    story.settle()
    assert story.condition("Stalled") == (False, "Progress")


def test_a_stall_fails_the_attempt_where_the_spec_says_so() -> None:
    story = moving(stallAction="Fail", backoffLimit=0)
    story.after(60)
    assert (story.word, story.status.reason) == ("Failed", "Stalled")


def test_a_pass_asks_to_be_woken_when_a_stall_would_be_due() -> None:
    story = moving(progress={"intervalSeconds": 0})
    due = story.decision().wake_at
    assert due is not None
    assert (due - story.world.now).total_seconds() == 60


def test_a_scheduler_that_cannot_be_asked_is_no_stall() -> None:
    story = running(stallDeadlineSeconds=60, stallAction="Fail")
    story.after(1000)
    assert story.word == "Running"
    assert story.condition("Stalled") is None


@pytest.mark.parametrize("last", [253402300799, 1e300, -5.0])
def test_an_absurd_time_of_the_last_task_breaks_no_pass(last: float) -> None:
    story = moving(stallAction="Fail", idleTimeout=300)
    for uid in story.world.dask:
        answer = {"lastTransition": last, "idleSince": last}
        story.world.said(uid, replace(dask_state(answer), workers=known_workers(story)))
    story.after(30)
    assert story.word == "Running"
    story.end_runner(0)
    assert story.word == "Successful"


def known_workers(story: Story) -> tuple[DaskWorker, ...]:
    return next(iter(story.world.dask.values())).workers


def test_before_the_runner_runs_nothing_is_stalled() -> None:
    story = moving(stallAction="Fail")
    story.end_runner(1)
    story.after(1000)
    story.world.say()
    story.after(1000)
    assert all(a.reason != "Stalled" for a in story.status.attempts)


def test_a_stall_counts_from_the_runners_start_where_no_task_ever_moved() -> None:
    story = running(stallDeadlineSeconds=60, stallAction="Fail", backoffLimit=0)
    story.world.say()
    story.after(59)
    assert story.word == "Running"
    story.after(1)
    assert story.status.reason == "Stalled"


@pytest.mark.parametrize("seconds", [60, 6000])
def test_without_a_stall_deadline_nobody_judges(seconds: int) -> None:
    story = running()
    story.world.say(total=3, processing=1)
    story.after(seconds)
    assert story.condition("Stalled") is None
