"""A rejection counts only while its object is wanted."""

from __future__ import annotations

from daskjob.core.errors import RejectionKind
from daskjob.core.manifests import Key
from tests.core.manifests import cluster, cluster_spec, job
from tests.core.stories import GROUP, Story, job_story

DENIED = (RejectionKind.REJECTED, "denied by policy")


def scale(story: Story, group: str, replicas: int) -> None:
    """Scale a group as kubectl does, and run passes."""
    story.world.edit(Key(GROUP, "default", group), worker={"replicas": replicas})
    story.settle()


def test_workers_that_were_rejected_and_are_not_wanted_any_more_end_no_running_job() -> None:
    story = job_story(backoffLimit=0, failurePolicy={"maxIgnored": 0})
    story.world.reject["-worker-"] = DENIED
    story.bring_up()
    assert len(story.world.rejections) == 2
    story.world.reject.clear()
    scale(story, "sums-default", 0)
    assert story.world.rejections == {}
    story.after(3_600)
    assert story.word == "Running"


def test_of_3_rejected_workers_the_one_that_is_still_wanted_keeps_its_count() -> None:
    story = Story(cluster(**cluster_spec(3)))
    story.world.reject["-worker-"] = DENIED
    story.settle()
    kept = min(story.world.rejections)
    scale(story, "simple-default", 1)
    assert list(story.world.rejections) == [kept]


def test_the_next_attempt_has_600_s_of_its_own_for_an_object_that_was_rejected() -> None:
    story = Story(job(backoff={"initialSeconds": 0}))
    story.world.reject["sums"] = DENIED
    story.settle()
    story.after(600)
    story.after(1)
    assert [attempt.reason for attempt in story.status.attempts] == ["Rejected"]
    assert story.status.attempt == 1
    story.after(590)
    assert len(story.status.attempts) == 1
    story.after(60)
    assert len(story.status.attempts) == 2


def test_suspended_job_wants_nothing_and_keeps_no_rejection() -> None:
    story = job_story()
    story.world.reject["sums-runner"] = DENIED
    story.settle()
    assert story.world.rejections
    story.edit(suspend=True)
    story.kubelet()
    assert story.world.rejections == {}


def test_finished_job_keeps_no_rejection() -> None:
    story = job_story()
    story.world.reject["sums-runner"] = (RejectionKind.INVALID, "no such field")
    story.settle()
    assert story.word == "Failed"
    assert "Pod/sums-runner" not in {name for _, name in story.world.rejections}
