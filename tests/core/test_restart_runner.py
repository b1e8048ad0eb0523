"""failurePolicy.restart: Runner — every attempt on the same cluster (design §3.1)."""

from __future__ import annotations

from daskjob.core.manifests import metadata
from tests.core.stories import Story, running

RUNNER = {"restart": "Runner"}


def test_a_second_attempt_runs_on_the_same_cluster() -> None:
    story = running(failurePolicy=RUNNER)
    before = _uid(story)
    story.end_runner(1)
    story.after(10)
    story.bring_up()
    assert (story.word, story.status.attempt) == ("Running", 1)
    assert _uid(story) == before
    assert story.writes.count("create Pod/sums-scheduler") == 1


def test_the_cluster_is_deleted_after_the_last_attempt() -> None:
    story = running(failurePolicy=RUNNER)
    story.end_runner(1)
    story.after(10)
    story.bring_up()
    story.end_runner(0, attempt=1)
    story.kubelet()
    assert story.named("DaskCluster") is None


def test_the_earlier_runner_has_ended_before_the_next_one_is_created() -> None:
    story = running(failurePolicy=RUNNER, attemptDeadlineSeconds=50)
    story.world.advance(60)
    story.settle()
    story.world.advance(10)
    story.settle()
    assert "sums-runner-1" not in story.pod_names()
    story.kubelet()
    assert "sums-runner-1" in story.pod_names()


def test_a_lost_scheduler_fails_the_attempt_and_the_next_one_gets_a_new_one() -> None:
    story = running(failurePolicy=RUNNER)
    before = _uid(story)
    story.world.lose(story.scheduler())
    story.settle()
    assert story.status.attempts[0].reason == "SchedulerLost"
    story.after(10)
    story.bring_up()
    assert (story.word, story.status.attempt) == ("Running", 1)
    assert _uid(story) == before
    assert story.writes.count("create Pod/sums-scheduler") == 2


def test_a_suspension_deletes_the_cluster_nevertheless() -> None:
    story = running(failurePolicy=RUNNER)
    story.edit(suspend=True)
    story.after(2)
    story.kubelet()
    assert story.named("DaskCluster") is None
    story.edit(suspend=False)
    story.bring_up()
    assert story.word == "Running"


def test_report_of_the_job_is_that_of_its_last_attempt() -> None:
    story = running(failurePolicy=RUNNER)
    story.world.report = {"tasks": 1}
    story.end_runner(1)
    assert story.status.report == {"tasks": 1}
    story.after(10)
    story.bring_up()
    story.world.report = {"tasks": 2}
    story.end_runner(0, attempt=1)
    assert story.word == "Successful"
    assert story.status.report == {"tasks": 2}


def _uid(story: Story) -> str:
    cluster = story.named("DaskCluster")
    assert cluster is not None
    return str(metadata(cluster)["uid"])
