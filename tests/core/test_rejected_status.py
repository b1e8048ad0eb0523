"""An object with rejected status writes fails alone, and is tried less and less often."""

from __future__ import annotations

from datetime import timedelta

import pytest

from daskjob.core.errors import RejectionKind
from daskjob.core.manifests import metadata, object_ref
from daskjob.core.policies.pacing import PASSING_SECONDS, SOON_SECONDS
from tests.core.manifests import cluster, cluster_spec, job
from tests.core.stories import CLUSTER, GROUP, Story, job_story, running

MESSAGE = 'DaskJob.kubernetes.dask.org "sums" is invalid: status.attempt: Invalid value: "x"'
KINDS = [RejectionKind.INVALID, RejectionKind.REJECTED]


def rejected(story: Story, what: str, kind: RejectionKind = RejectionKind.INVALID) -> None:
    """Let the status writes of an object be rejected from now on."""
    story.world.reject_status[what] = (kind, MESSAGE)


def tries(story: Story) -> int:
    """Return the number of consecutive failed status writes."""
    return sum(rejection.tries for rejection in story.world.status_rejections.values())


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_minute_a_rejected_status_is_tried_at_most_6_times_an_hour_whatever_changes(
    kind: RejectionKind,
) -> None:
    story = job_story()
    rejected(story, "DaskJob/sums", kind)
    story.settle()
    for _ in range(int(PASSING_SECONDS)):
        story.after(1)
    before = tries(story)
    assert 7 <= before <= 10
    for done in range(120):
        story.world.schedulers_answer(total=200, done=done)
        story.after(30)
    assert 3 <= tries(story) - before <= 6


def test_a_pass_with_a_rejected_status_is_repeated_when_the_status_may_be_tried() -> None:
    story = job_story()
    rejected(story, "DaskJob/sums")
    story.settle()
    assert story.decision().wake_at == story.world.now + timedelta(seconds=2)
    story.after(2)
    assert tries(story) == 2
    assert story.decision().wake_at == story.world.now + timedelta(seconds=4)
    assert story.decision().status is None
    story.world.reject_status.clear()
    story.after(3)
    assert story.word == "None"
    story.after(1)
    assert story.word == "ClusterCreated"
    assert story.world.status_rejections == {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [5, 10, 30, 55])
def test_a_status_that_was_rejected_by_a_passing_fault_is_written_within_15_s(
    seconds: int, kind: RejectionKind
) -> None:
    story = job_story()
    rejected(story, "DaskJob/sums", kind)
    story.settle()
    for _ in range(seconds):
        story.after(1)
    story.world.reject_status.clear()
    for _ in range(int(SOON_SECONDS)):
        story.after(1)
    assert story.word == "ClusterCreated"


def test_an_object_with_a_rejected_status_fails_alone() -> None:
    story = job_story()
    other = story.world.submit(job(name="other"))
    rejected(story, "DaskJob/sums")
    story.bring_up()
    assert story.word == "None"
    assert story.world.job_status(other).job_status == "Running"


def test_the_objects_pods_are_created_though_its_status_cannot_be_written() -> None:
    story = job_story()
    rejected(story, "DaskJob/sums")
    story.bring_up()
    assert story.pod_names() == ["sums-runner", "sums-scheduler"]
    assert story.event_reasons() == []


def test_the_end_of_a_job_is_written_and_cleaned_up_once_its_status_is_accepted() -> None:
    story = running()
    rejected(story, "DaskJob/sums")
    story.end_runner(0)
    story.after(600)
    assert (story.word, story.pod_names()) == ("Running", ["sums-runner", "sums-scheduler"])
    story.world.reject_status.clear()
    story.after(1200)
    story.kubelet()
    assert (story.word, story.pod_names()) == ("Successful", ["sums-runner"])


@pytest.mark.parametrize(
    ("kind", "name", "component"),
    [(GROUP, "simple-default", "worker"), (CLUSTER, "simple", "scheduler")],
)
def test_crashed_pods_are_not_replaced_continuously_where_failures_cannot_be_counted(
    kind: str, name: str, component: str
) -> None:
    story = Story(cluster(**cluster_spec(1)))
    story.bring_up()
    rejected(story, f"{kind}/{name}")
    seen: set[str] = set()
    for _ in range(60):
        for pod in story.world.pods(component):
            seen.add(metadata(pod)["uid"])
            story.world.start(pod)
            story.world.exit(pod, 1)
        story.after(1)
    assert len(seen) <= 3


def test_a_recreated_object_does_not_inherit_its_predecessors_backoff() -> None:
    story = job_story()
    rejected(story, "DaskJob/sums")
    story.settle()
    story.world.reject_status.clear()
    item = story.named("DaskJob")
    assert item is not None
    story.world.store.remove(object_ref(item))
    again = story.world.submit(job())
    story.after(1)
    assert story.world.job_status(again).started
