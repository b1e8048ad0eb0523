"""Tasks that wait for what does not come are reported while they wait (design §5.5)."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from daskjob.backends.fake import START
from daskjob.core import names
from daskjob.core.dask import Activity, RunningTask, StuckTasks, TaskCounts, WantedResource
from daskjob.core.explain import explain
from daskjob.core.manifests import Manifest
from tests.core.manifests import cluster_spec, job
from tests.core.stories import Story, running

SCRIPT = {"annotations": {names.ANNOTATION_SCRIPT: "true"}}


def reports(story: Story, tasks: TaskCounts, *, workers: int = 1, **activity: object) -> None:
    """Have the scheduler answer with tasks and their activity."""
    story.world.schedulers_answer()
    for uid, known in list(story.world.dask.items()):
        state = replace(
            known,
            tasks=tasks,
            workers_total=workers,
            last_transition=story.world.now,
            activity=Activity(**activity),  # type: ignore[arg-type]
        )
        story.world.answered(uid, state)
    story.settle()


def manifest_of(story: Story) -> Manifest:
    found = story.named(names.Kind.JOB)
    assert found is not None
    return found


def why(story: Story) -> str:
    found = explain(manifest_of(story))
    return " ".join([found.headline, *found.evidence, found.next_step])


@pytest.mark.parametrize(
    ("stuck", "text"),
    [
        (
            StuckTasks(names=("train",), resources=(WantedResource("GPU", 1, 0),)),
            "train needs the resource GPU (1), which no worker offers",
        ),
        (
            StuckTasks(names=("a", "b"), resources=(WantedResource("MEM", 4, 1.5),)),
            "a and b need 4 of the resource MEM, and no worker offers more than 1.5",
        ),
        (
            StuckTasks(names=("load",), workers=("tcp://10.0.0.9:1",)),
            "load may only run on tcp://10.0.0.9:1, which is not registered",
        ),
    ],
)
def test_tasks_that_no_worker_can_run_are_reported_after_2_s(stuck: StuckTasks, text: str) -> None:
    story = running()
    since = story.world.now
    reports(story, TaskCounts(2, waiting=2, no_worker=2), stuck=replace(stuck, since=since))
    assert story.status.message == ""
    story.after(2)
    assert story.status.reason == "NoWorkerForTasks"
    assert text in story.status.message
    assert text in why(story)
    assert "no problems found" not in why(story)


def test_tasks_that_found_a_worker_are_reported_no_more() -> None:
    story = running()
    stuck = StuckTasks(since=story.world.now, names=("f",))
    reports(story, TaskCounts(2, waiting=2, no_worker=2), stuck=stuck)
    story.after(10)
    assert story.status.reason == "NoWorkerForTasks"
    reports(story, TaskCounts(2, done=2))
    story.after(10)
    assert story.status.reason == ""


def test_tasks_without_any_worker_wait_for_workers_of_which_none_is_wanted() -> None:
    story = running(cluster={"spec": cluster_spec(0)})
    reports(story, TaskCounts(20, waiting=20), workers=0)
    story.after(3)
    assert story.status.reason == "NoWorkers"
    assert "the job has no workers" in why(story)


def quiet(since: datetime) -> dict[str, Any]:
    tasks = (RunningTask("take", "simple-worker-a", since), RunningTask("take", "b", since))
    return {"running": tasks, "quiet_since": since, "locks": ("door",)}


def test_a_deadlock_is_reported_after_60_s_with_tasks_and_lock_in_a_message_that_lasts() -> None:
    story = running()
    reports(story, TaskCounts(2, processing=2), **quiet(story.world.now))
    story.after(59)
    assert story.status.reason == ""
    story.after(1)
    message = story.status.message
    assert story.status.reason == "NoProgress"
    assert "take on worker" in message
    assert "wait for the lock 'door'" in message
    writes = len(story.writes)
    story.after(600)
    assert story.status.message == message
    assert len(story.writes) == writes
    assert "making no progress" in why(story)


def test_a_deadline_names_the_tasks_that_ran_where_and_for_how_long() -> None:
    story = running(activeDeadlineSeconds=300, backoffLimit=0)
    reports(story, TaskCounts(3, done=1, processing=2), **quiet(story.world.now))
    story.after(300)
    assert story.status.reason == "DeadlineExceeded"
    assert "2 tasks are being processed (take on worker" in story.status.message
    assert "for 300 s" in story.status.message or "for 299 s" in story.status.message


def deadline_of(tasks: TaskCounts, *, workers: int = 1, **activity: Any) -> Story:
    """A script that ended at its deadline of 300 s, with these tasks all the time."""
    manifest = job(
        activeDeadlineSeconds=300, backoffLimit=0, cluster={"spec": cluster_spec(workers)}
    )
    manifest["metadata"].update(SCRIPT)
    story = Story(manifest)
    story.bring_up()
    since = story.world.now
    if "stuck" in activity:
        activity["stuck"] = replace(activity["stuck"], since=since)
    reports(story, tasks, workers=workers, **activity)
    story.after(300)
    assert story.status.reason == "DeadlineExceeded"
    return story


def next_step(story: Story) -> str:
    return explain(manifest_of(story)).next_step


def test_a_deadline_carries_the_resource_that_no_worker_offers_and_how_to_offer_it() -> None:
    stuck = StuckTasks(names=("train",), resources=(WantedResource("GPU", 1, 0),))
    story = deadline_of(TaskCounts(1, waiting=1, no_worker=1), stuck=stuck)
    assert "train needs the resource GPU (1), which no worker offers" in story.status.message
    assert next_step(story) == (
        "Offer it: --env DASK_DISTRIBUTED__WORKER__RESOURCES='{\"GPU\": 1}'."
    )


def test_a_deadline_carries_the_deadlock_with_all_its_locks() -> None:
    since = START
    story = deadline_of(
        TaskCounts(2, processing=2), **{**quiet(since), "locks": ("a", "b")}, workers=2
    )
    assert "tasks wait for the locks 'a' and 'b'" in story.status.message
    assert next_step(story).startswith("Look for a deadlock: ")


def test_a_deadline_carries_that_the_job_has_no_workers() -> None:
    story = deadline_of(TaskCounts(20, waiting=20), workers=0)
    assert "while tasks are waiting, and the job has no workers." in story.status.message
    assert next_step(story) == "Ask for some: --workers N."


@pytest.mark.parametrize(
    ("tasks", "more", "step"),
    [
        (TaskCounts(), {}, "Raise --timeout, or find out what the script was doing."),
        (TaskCounts(30, waiting=28, processing=2), {}, "Raise --timeout, or add workers"),
        (TaskCounts(1, processing=1), {}, "Raise --timeout."),
        (
            TaskCounts(1, processing=1),
            {"quiet_since": START},
            "Raise --timeout, or find out what the tasks wait for.",
        ),
    ],
)
def test_a_deadline_asks_for_workers_only_if_tasks_waited_for_one(
    tasks: TaskCounts, more: dict[str, Any], step: str
) -> None:
    assert next_step(deadline_of(tasks, **more)).startswith(step)


def test_workers_that_ended_with_the_runner_are_no_evidence_but_others_are() -> None:
    story = running(backoffLimit=0)
    reports(story, TaskCounts(1, done=1), workers=2)
    for pod in story.workers():
        story.world.exit(pod, 1)
    story.end_runner(1, attempt=0)
    assert "workers are ready" in str(story.status.conditions)
    assert "workers are ready" not in why(story)
    never_at_work = deepcopy(manifest_of(story))
    never_at_work["status"].pop("workersJoinedTime")
    assert "0 of " in str(explain(never_at_work).evidence)
