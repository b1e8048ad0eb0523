"""A job on a cluster that is not its own (design §3.1, clusterRef)."""

from __future__ import annotations

from tests.core.manifests import cluster
from tests.core.stories import Story, job_story

ON_SIMPLE = {"name": "simple"}


def on_a_cluster(**spec: object) -> Story:
    """Return a job that runs on the cluster ``simple``."""
    story = job_story(clusterRef=ON_SIMPLE, **spec)
    story.world.submit(cluster())
    story.bring_up()
    assert story.word == "Running"
    return story


def test_the_job_creates_its_runner_and_no_cluster() -> None:
    story = on_a_cluster()
    assert story.named("DaskCluster", "sums") is None
    assert story.status.cluster_name == "simple"
    assert story.status.scheduler_address == "tcp://simple-scheduler.default.svc:8786"


def test_the_cluster_is_never_deleted_or_patched_by_the_job() -> None:
    for code in (0, 1):
        story = on_a_cluster(backoffLimit=0)
        story.end_runner(code)
        story.after(1000)
        assert story.named("DaskCluster", "simple") is not None
        assert len(story.workers()) == 2
        assert not [w for w in story.writes if w.startswith(("delete", "patch"))]


def test_a_cluster_missing_for_60_s_makes_the_spec_invalid() -> None:
    story = job_story(clusterRef=ON_SIMPLE)
    story.settle()
    story.after(59)
    assert not story.status.finished
    assert (story.status.reason, "simple" in story.status.message) == ("WaitingForCluster", True)
    story.after(1)
    assert (story.word, story.status.reason) == ("Failed", "InvalidSpec")
    assert "DaskCluster simple" in story.status.message


def test_no_runner_is_created_while_the_cluster_is_missing() -> None:
    story = job_story(clusterRef=ON_SIMPLE)
    story.after(30)
    assert story.pod_names() == []
    story.world.submit(cluster())
    story.bring_up()
    assert story.word == "Running"


def test_a_second_attempt_runs_on_the_same_cluster() -> None:
    story = on_a_cluster()
    before = story.named("DaskCluster", "simple")
    story.end_runner(1)
    story.after(10)
    story.bring_up()
    assert (story.word, story.status.attempt) == ("Running", 1)
    assert story.named("DaskCluster", "simple") == before


def test_cancel_stops_the_runner_only() -> None:
    story = on_a_cluster()
    story.edit(cancel=True)
    story.after(2)
    assert story.status.reason == "Cancelled"
    assert story.pod_names() == ["simple-scheduler", "sums-runner"]
    assert len(story.workers()) == 2


def test_suspend_stops_the_runner_only() -> None:
    story = on_a_cluster()
    story.edit(suspend=True)
    story.after(2)
    assert story.status.phase == "Suspended"
    assert len(story.workers()) == 2


def test_no_report_is_requested_from_a_cluster_that_is_not_the_jobs() -> None:
    story = on_a_cluster()
    story.end_runner(0)
    assert "report sums" not in story.writes


def test_stalls_are_not_detected_since_its_tasks_cannot_be_distinguished_from_others() -> None:
    story = on_a_cluster(stallDeadlineSeconds=60, stallAction="Fail")
    story.world.schedulers_answer(total=3, processing=1)
    story.after(1000)
    assert story.word == "Running"
    assert story.condition("Stalled") == (False, "NotKnown")


def test_the_60_s_of_the_runners_start_exclude_the_wait_for_the_cluster() -> None:
    story = job_story(clusterRef=ON_SIMPLE, backoffLimit=0)
    story.after(50)
    story.world.submit(cluster())
    story.settle()
    story.after(59)
    assert not story.status.finished
    story.after(1)
    assert (story.word, story.status.reason) == ("Failed", "StartupDeadlineExceeded")
