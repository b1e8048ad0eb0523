"""When the runner is created (design §3.1)."""

from __future__ import annotations

from tests.core.manifests import cluster_spec
from tests.core.stories import job_story


def test_with_at_once_the_runner_is_created_first() -> None:
    story = job_story()
    assert [m["kind"] for m in story.decision().create] == ["Pod", "DaskCluster"]
    story.settle()
    assert story.writes[0] == "create Pod/sums-runner"


def test_files_are_created_before_the_runner_that_mounts_them() -> None:
    story = job_story()
    job = story.named("DaskJob")
    assert job is not None
    job["spec"]["job"]["files"] = {"a.py": "1"}
    assert [m["kind"] for m in story.decision().create] == ["ConfigMap", "Pod", "DaskCluster"]
    story.bring_up()
    assert story.writes.count("create ConfigMap/sums-files") == 1


def test_with_after_scheduler_the_runner_waits_until_the_scheduler_answers() -> None:
    story = job_story(runnerStart="AfterScheduler")
    story.settle()
    assert story.pod_names() == ["sums-scheduler"]
    story.world.start(story.scheduler(), ready=False)
    story.settle()
    assert story.pod_names() == ["sums-scheduler"]
    story.world.start(story.scheduler())
    story.settle()
    assert story.pod_names() == ["sums-runner", "sums-scheduler"]


def test_with_after_workers_the_runner_waits_for_all_2() -> None:
    story = job_story(runnerStart="AfterWorkers")
    story.settle()
    story.world.start(story.scheduler())
    story.settle()
    for worker in story.workers():
        assert "sums-runner" not in story.pod_names()
        story.world.start(worker)
        story.settle()
    assert "sums-runner" in story.pod_names()


def test_with_after_workers_1_is_enough_where_1_is_the_minimum() -> None:
    story = job_story(runnerStart="AfterWorkers", minAvailableWorkers=1)
    story.settle()
    story.world.start(story.scheduler())
    story.settle()
    assert "sums-runner" not in story.pod_names()
    story.world.start(story.workers()[0])
    story.settle()
    assert "sums-runner" in story.pod_names()


def test_autoscaled_workers_reach_the_number_that_the_runner_waits_for() -> None:
    """Without a runner there are no tasks, and the scheduler wants no workers."""
    spec = cluster_spec(1, workerGroups=[{**cluster_spec(1)["worker"], "name": "more"}])
    spec["worker"]["autoscaling"] = {"maximum": 3}
    spec["workerGroups"][0]["autoscaling"] = {"minimum": 0, "maximum": 9}
    story = job_story(runnerStart="AfterWorkers", minAvailableWorkers=5, cluster={"spec": spec})
    story.settle()
    assert story.condition("WorkersReady") != (False, "TooFewWorkers")
    story.bring_up()
    story.world.want(sums_default=0, sums_more=0)
    story.after(120)
    assert len(story.workers()) == 5
    assert "sums-runner" in story.pod_names()


def test_missing_workers_end_the_start_by_its_deadline() -> None:
    story = job_story(runnerStart="AfterWorkers", startupDeadlineSeconds=60, backoffLimit=0)
    story.settle()
    story.after(60)
    assert story.status.reason == "StartupDeadlineExceeded"
