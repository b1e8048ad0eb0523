"""A stall: the runner is running and no task makes progress (design §3.1)."""

from __future__ import annotations

import pytest

from tests.core.stories import Story, running


def moving(**spec: object) -> Story:
    """Return a running job whose scheduler has just reported progress."""
    story = running(stallDeadlineSeconds=60, **spec)
    story.world.schedulers_answer(total=10, processing=2)
    story.settle()
    return story


def test_60_s_without_progress_set_a_condition_and_the_job_continues() -> None:
    story = moving()
    story.after(59)
    assert story.condition("Stalled") is None
    story.after(1)
    assert story.condition("Stalled") == (True, "NoProgress")
    assert story.word == "Running"


def test_progress_ends_the_stall() -> None:
    story = moving()
    story.after(60)
    story.world.schedulers_answer(total=10, processing=1, done=1)
    story.settle()
    assert story.condition("Stalled") == (False, "Progress")


def test_a_stall_fails_the_attempt_if_the_spec_requires_it() -> None:
    story = moving(stallAction="Fail", backoffLimit=0)
    story.after(60)
    assert (story.word, story.status.reason) == ("Failed", "Stalled")


def test_a_pass_asks_to_be_woken_when_a_stall_would_be_due() -> None:
    story = moving(progress={"intervalSeconds": 0})
    due = story.decision().wake_at
    assert due is not None
    assert (due - story.world.now).total_seconds() == 60


def test_an_unreachable_scheduler_is_no_stall() -> None:
    story = running(stallDeadlineSeconds=60, stallAction="Fail")
    story.after(1000)
    assert story.word == "Running"
    assert story.condition("Stalled") is None


def test_a_job_is_not_stalled_before_its_runner_runs() -> None:
    story = moving(stallAction="Fail")
    story.end_runner(1)
    story.after(1000)
    story.world.schedulers_answer()
    story.after(1000)
    assert all(a.reason != "Stalled" for a in story.status.attempts)


def test_a_stall_without_any_progress_counts_from_the_runners_start() -> None:
    story = running(stallDeadlineSeconds=60, stallAction="Fail", backoffLimit=0)
    story.world.schedulers_answer()
    story.after(59)
    assert story.word == "Running"
    story.after(1)
    assert story.status.reason == "Stalled"


@pytest.mark.parametrize("seconds", [60, 6000])
def test_without_a_stall_deadline_stalls_are_not_detected(seconds: int) -> None:
    story = running()
    story.world.schedulers_answer(total=3, processing=1)
    story.after(seconds)
    assert story.condition("Stalled") is None
