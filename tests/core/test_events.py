"""Events: few, each emitted once, and after the status they refer to (design §3.1, §4.7)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from daskjob.backends.fake import FakeBackend
from daskjob.core.decision import Event
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.core.reconcile import reconcile
from tests.core.manifests import cluster_spec, job
from tests.core.stories import Story, job_story, running


def test_a_job_that_succeeds_emits_2_events() -> None:
    story = running()
    story.end_runner(0)
    story.after(100)
    assert story.event_reasons() == ["Started", "Completed"]


def test_the_start_is_dated_by_the_attempt_although_its_status_is_written_later() -> None:
    story = running()
    [event] = [each.event for each in story.world.events if each.event.reason == "Started"]
    assert event.at == story.status.attempt_start_time


@pytest.mark.parametrize(
    ("spec", "code", "expected"),
    [
        ({"backoffLimit": 0}, 0, ["Started", "Completed"]),
        ({"backoffLimit": 0}, 1, ["Started", "ExitCode"]),
        ({"backoffLimit": 1}, 139, ["Started", "Retrying"]),
    ],
)
def test_an_attempt_that_ends_before_a_status_shows_that_it_ran_emits_its_start_first(
    spec: dict[str, int], code: int, expected: list[str]
) -> None:
    story = job_story(**spec)
    story.settle()
    began = story.status.attempt_start_time
    assert story.word != "Running"
    story.end_runner(code)
    assert story.event_reasons() == expected
    start = story.world.events[0].event
    assert start.at == began
    assert start.message.startswith("attempt 0 is running in pod")


def test_a_retried_job_emits_each_step_once() -> None:
    story = running(backoffLimit=1)
    for attempt in (0, 1):
        story.bring_up()
        story.end_runner(3, attempt=attempt)
        story.kubelet()
        story.after(10)
    assert story.event_reasons() == ["Started", "Retrying", "Started", "BackoffLimitExceeded"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"suspend": True}, "Suspended"), ({"cancel": True}, "Cancelled")],
)
def test_a_users_request_emits_an_event(change: dict[str, bool], expected: str) -> None:
    story = running()
    story.edit(**change)
    story.after(100)
    assert story.event_reasons() == ["Started", expected]


def test_suspending_at_creation_and_resuming_emit_events() -> None:
    story = job_story(suspend=True)
    story.settle()
    story.edit(suspend=False)
    assert story.event_reasons() == ["Suspended", "Resumed"]


def test_waiting_for_a_node_for_a_day_emits_one_event() -> None:
    story = job_story()
    story.settle()
    for free in range(24):
        story.world.unschedulable(story.runner(), f"0/{free} nodes are available")
        story.after(3600)
    assert story.event_reasons() == ["Unschedulable"]


def test_a_template_changed_after_the_start_emits_one_event_and_changes_nothing() -> None:
    story = running()
    before = story.runner()
    changed = cluster_spec(idleTimeout=5)
    story.edit(cluster={"spec": changed})
    story.after(100)
    story.after(100)
    assert story.event_reasons() == ["Started", "SpecChangeIgnored"]
    assert story.runner() == before
    assert story.word == "Running"


def test_a_changed_count_is_no_change_of_a_template() -> None:
    story = running()
    story.edit(cluster={"spec": {"worker": {"replicas": 3}}})
    assert "SpecChangeIgnored" not in story.event_reasons()


def test_failures_are_warnings_and_successes_are_not() -> None:
    story = running(backoffLimit=0)
    story.end_runner(1)
    warnings = {e.event.reason: e.event.warning for e in story.world.events}
    assert warnings == {"Started": False, "ExitCode": True}


def test_an_events_message_is_at_most_1000_characters() -> None:
    story = running(backoffLimit=0)
    story.end_runner(1, message="x" * 5000)
    assert max(len(e.event.message) for e in story.world.events) <= 1000


class Watching(FakeBackend):
    """A world that records the order of status writes and Events."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []

    async def write_status(self, ref: ObjectRef, status: Manifest) -> None:
        await super().write_status(ref, status)
        self.order.append(f"status {ref.kind}")

    async def emit(self, ref: ObjectRef, events: Iterable[Event]) -> None:
        self.order.append(f"events {ref.kind}")
        await super().emit(ref, events)


def watched() -> tuple[Story, Watching]:
    """Return a running job in a recording world, whose failure the next pass will observe."""
    world = Watching()
    story = Story(job(backoffLimit=0), world)
    story.bring_up()
    world.exit(story.runner(), 1)
    asyncio.run(reconcile(world, story.key, world.now))
    world.order.clear()
    return story, world


def test_an_event_follows_the_status_it_refers_to() -> None:
    story, world = watched()
    story.one_pass()
    assert world.order == ["status DaskJob", "events DaskJob"]


def test_no_event_is_emitted_until_its_status_could_be_written() -> None:
    story, world = watched()
    world.faults = [False]
    story.settle()
    assert story.event_reasons() == ["Started", "ExitCode"]
    assert world.order[:2] == ["status DaskJob", "events DaskJob"]


def test_a_failed_create_does_not_suppress_the_statuss_events() -> None:
    story = job_story(suspend=True)
    story.settle()
    story.world.edit(story.key, suspend=False)
    story.world.faults = [False, False]
    story.settle()
    assert story.event_reasons() == ["Suspended", "Resumed"]


def test_spec_that_changes_after_the_end_is_acknowledged_once_and_not_run_again() -> None:
    story = running()
    story.end_runner(0)
    story.kubelet()
    before, generation = len(story.writes), story.status.observed_generation
    story.edit(backoffLimit=9)
    story.after(1_000)
    assert story.event_reasons() == ["Started", "Completed", "SpecChangeIgnored"]
    assert story.writes[before:] == ["status DaskJob/sums"]
    assert (story.word, story.status.observed_generation) == ("Successful", generation + 1)
