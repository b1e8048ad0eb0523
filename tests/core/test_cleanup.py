"""Cleanup after a job's end: after the verdict, and never the runner (design §3.1, §4.3)."""

from __future__ import annotations

from typing import Any

import pytest

from daskjob.core.manifests import metadata
from tests.core import manifests
from tests.core.stories import (
    Story,
    assert_runner_is_deleted_after_90_s,
    ended,
    job_story,
    running,
)

WAYS_TO_END: dict[str, dict[str, Any]] = {
    "success": {"code": 0},
    "failure": {"code": 1, "backoffLimit": 0},
    "cancel": {"cancel": True},
    "deadline": {"activeDeadlineSeconds": 10},
    "retry": {"code": 1},
}


def about_to_end(how: str) -> Story:
    """Return a running job whose end the next passes will observe."""
    way = dict(WAYS_TO_END[how])
    code, cancel = way.pop("code", None), way.pop("cancel", False)
    story = running(**way)
    if code is not None:
        story.world.exit(story.runner(), code)
    if cancel:
        story.world.edit(story.key, cancel=True)
    story.world.advance(10)
    return story


@pytest.mark.parametrize("how", WAYS_TO_END)
def test_the_pass_that_writes_the_verdict_deletes_and_stops_nothing(how: str) -> None:
    story = about_to_end(how)
    assert not story.status.attempts
    story.until_a_destructive_step()
    assert story.status.attempts, "an object was deleted before the end was written"


@pytest.mark.parametrize("how", ["success", "failure", "cancel", "deadline"])
def test_by_default_the_cluster_is_deleted_and_the_runner_stays(how: str) -> None:
    story = about_to_end(how)
    story.settle()
    story.after(2)
    story.kubelet()
    assert story.named("DaskCluster") is None
    assert story.pod_names() == ["sums-runner"]
    assert story.workers() == []


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("deletion", ["DeleteCluster", "DeleteWorkers", "Keep"])
def test_the_deletion_policy_applies_to_success_and_failure(code: int, deletion: str) -> None:
    other = "Keep" if deletion != "Keep" else "DeleteCluster"
    mine, theirs = ("onSuccess", "onFailure") if code == 0 else ("onFailure", "onSuccess")
    story = ended(code, backoffLimit=0, deletionPolicy={mine: deletion, theirs: other})
    story.kubelet()
    cluster, workers = story.named("DaskCluster") is not None, len(story.workers())
    expected = {"DeleteCluster": (False, 0), "DeleteWorkers": (True, 0), "Keep": (True, 2)}
    assert (cluster, workers) == expected[deletion]


def test_delete_workers_keeps_the_scheduler_for_its_dashboard() -> None:
    story = ended(0, deletionPolicy={"onSuccess": "DeleteWorkers"})
    story.kubelet()
    story.after(600)
    assert story.pod_names() == ["sums-runner", "sums-scheduler"]
    assert story.named("DaskWorkerGroup", "sums-default") is None


def test_a_runner_without_a_node_has_no_log_and_is_deleted() -> None:
    story = job_story()
    story.settle()
    story.edit(cancel=True)
    assert "delete Pod/sums-runner" in story.writes
    assert "stop Pod/sums-runner" not in story.writes


def test_a_runner_on_a_node_is_stopped_so_that_its_log_stays() -> None:
    story = about_to_end("cancel")
    story.settle()
    assert story.runner()["spec"]["activeDeadlineSeconds"] == 1
    assert "delete Pod/sums-runner" not in story.writes


def test_a_runner_is_stopped_only_once() -> None:
    story = about_to_end("cancel")
    story.settle()
    story.world.advance(30)
    story.settle()
    assert story.writes.count("stop Pod/sums-runner") == 1


def test_a_stopped_runner_that_does_not_end_for_90_s_is_deleted() -> None:
    story = about_to_end("cancel")
    story.settle()
    assert_runner_is_deleted_after_90_s(story)


def test_failed_cleanup_is_retried_and_never_changes_the_verdict() -> None:
    story = running()
    story.world.exit(story.runner(), 0)
    story.one_pass()
    story.one_pass()
    verdict = story.status
    assert verdict.finished
    story.world.faults = [False]
    story.settle()
    assert story.named("DaskCluster") is None
    assert story.status == verdict


def test_a_cluster_created_late_is_deleted_too() -> None:
    story = ended(0)
    story.kubelet()
    job = story.named("DaskJob")
    assert job is not None
    reference = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "name": "sums",
        "uid": metadata(job)["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }
    late = {
        "kind": "DaskCluster",
        "metadata": {"name": "sums", "namespace": "default", "ownerReferences": [reference]},
        "spec": job["spec"]["cluster"]["spec"],
    }
    story.world.store.create(late)
    story.settle()
    assert story.named("DaskCluster") is None


def test_a_foreign_cluster_of_the_jobs_name_is_never_deleted() -> None:
    story = ended(0)
    story.kubelet()
    story.world.submit(manifests.cluster(name="sums"))
    story.one_pass()
    assert story.named("DaskCluster") is not None


def test_a_running_runner_of_an_earlier_attempt_is_stopped_before_the_next() -> None:
    story = running(attemptDeadlineSeconds=50)
    story.world.advance(50)
    story.settle()
    assert "stop Pod/sums-runner" in story.writes
    story.world.advance(10)
    story.settle()
    assert "create Pod/sums-runner-1" not in story.writes
    # The end of the script, and then that of its cluster.
    story.kubelet()
    story.kubelet()
    assert "create Pod/sums-runner-1" in story.writes


@pytest.mark.parametrize("how", ["cancel", "suspend", "deadline"])
def test_a_script_that_is_stopped_keeps_its_cluster_until_it_has_ended(how: str) -> None:
    story = running(activeDeadlineSeconds=50)
    if how == "deadline":
        story.world.advance(50)
        story.settle()
    else:
        story.edit(**{how: True})
    assert "stop Pod/sums-runner" in story.writes
    for _ in range(2):
        story.world.advance(7)
        story.settle()
        assert "delete DaskCluster/sums" not in story.writes
    story.kubelet()
    assert "delete DaskCluster/sums" in story.writes


def test_a_script_that_does_not_end_keeps_its_cluster_for_15_s() -> None:
    story = running()
    story.edit(cancel=True)
    story.world.advance(14)
    story.settle()
    assert "delete DaskCluster/sums" not in story.writes
    story.world.advance(1)
    story.settle()
    assert "delete DaskCluster/sums" in story.writes


def test_a_script_whose_scheduler_is_lost_keeps_nothing() -> None:
    story = running(backoffLimit=0)
    story.world.lose(story.scheduler())
    story.edit(cancel=True)
    assert "delete DaskCluster/sums" in story.writes
