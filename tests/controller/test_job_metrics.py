"""Metrics and log lines of jobs: each event once, across restarts of the operator."""

from __future__ import annotations

import asyncio
import logging

import pytest

from daskjob.backends.fake import FakeBackend
from daskjob.controller.job_metrics import Jobs
from daskjob.controller.leader_only import LeaderOnly, NotLeading
from daskjob.controller.metrics import Sample
from daskjob.core.decision import Patch, Retire
from daskjob.core.errors import ApiError
from daskjob.core.manifests import Key, ObjectRef, object_ref
from daskjob.core.reconcile import reconcile
from tests.core import manifests


class Counted:
    """A backend with job metrics around its passes, wired as in the operator."""

    def __init__(self, world: FakeBackend | None = None) -> None:
        self.world = world or FakeBackend()
        self.leads = True
        self.jobs = Jobs(lambda: self.world.now)
        self.leader_only = LeaderOnly(self.world, lambda: self.leads, self.jobs)

    def settle(self, seconds: float = 0.0) -> None:
        """Let time pass, and run passes until nothing changes."""
        self.world.advance(seconds)
        self.world.kubelet()
        for _ in range(20):
            before = len(self.world.writes)
            for key in self.world.subjects():
                try:
                    asyncio.run(reconcile(self.leader_only, key, self.world.now))
                except ApiError:
                    continue
            if len(self.world.writes) == before:
                return

    def run(self, seconds: float = 3.0) -> None:
        """Start all pods, some seconds after the job was created."""
        self.settle()
        for _ in range(3):
            self.world.start_all()
            self.settle(seconds / 3)

    def exit(self, code: int, runner: str = "sums-runner") -> None:
        self.world.exit(self.world.pod(runner), code)
        self.settle(1)

    def places(self) -> dict[tuple[str, ...], float]:
        return {sample.labels: sample.value for sample in self.jobs.samples()}


@pytest.fixture
def counted() -> Counted:
    return Counted()


def test_jobs_are_counted_by_status(counted: Counted) -> None:
    for name in ("sums", "more"):
        counted.world.submit(manifests.job(name))
    counted.settle()
    assert counted.places() == {("Starting", ""): 2}
    counted.run()
    assert counted.places() == {("Running", ""): 2}
    counted.exit(0)
    assert counted.places() == {("Running", ""): 1, ("Succeeded", "Completed"): 1}
    assert counted.jobs.samples()[0] == Sample(("Running", ""), 1.0)


def test_deleted_job_is_no_longer_counted(counted: Counted) -> None:
    key = counted.world.submit(manifests.job())
    counted.run()
    item = counted.world.store.get(key)
    assert item is not None
    counted.world.store.delete(object_ref(item))
    asyncio.run(reconcile(counted.leader_only, key, counted.world.now))
    assert counted.places() == {}


def test_job_recreated_under_its_name_is_counted_separately(counted: Counted) -> None:
    key = counted.world.submit(manifests.job())
    counted.run()
    counted.exit(0)
    counted.world.store.delete(object_ref(counted.world.store.get(key) or {}))
    counted.world.submit(manifests.job())
    counted.run()
    assert counted.places() == {("Running", ""): 1}
    assert counted.jobs.to_runner.count() == 2


def test_durations_from_creation_to_scheduler_runner_and_end(counted: Counted) -> None:
    counted.world.submit(manifests.job())
    counted.run(seconds=6.0)
    counted.settle(600)
    counted.exit(0)
    jobs = counted.jobs
    assert jobs.to_scheduler.count() == jobs.to_runner.count() == 1
    assert jobs.to_end.count("Succeeded") == 1
    lines = "\n".join(jobs.to_end.lines())
    assert 'daskjob_job_finished_seconds_sum{phase="Succeeded"} 607' in lines
    assert 'daskjob_job_finished_seconds_bucket{phase="Succeeded",le="600"} 0' in lines
    assert 'daskjob_job_finished_seconds_bucket{phase="Succeeded",le="1800"} 1' in lines


def test_attempts_are_counted_by_reason_and_their_starts_are_not_the_jobs_start(
    counted: Counted,
) -> None:
    counted.world.submit(manifests.job(backoffLimit=1))
    counted.run()
    counted.exit(3)
    for _ in range(5):
        counted.settle(10)
    counted.run()
    counted.exit(0, "sums-runner-1")
    assert counted.jobs.attempts.value("ExitCode") == 1
    assert sum(value for value in counted.jobs.attempts._values.values()) == 2
    assert counted.jobs.to_runner.count() == 1


def test_restarted_operator_counts_nothing_that_happened_before(counted: Counted) -> None:
    counted.world.submit(manifests.job())
    counted.run()
    counted.exit(0)
    restarted = Counted(counted.world)
    restarted.settle()
    assert restarted.places() == {("Succeeded", "Completed"): 1}
    assert restarted.jobs.to_runner.count() == 0
    assert restarted.jobs.to_end.count("Succeeded") == 0
    assert restarted.jobs.attempts._values == {}


def test_status_whose_write_got_no_answer_is_counted_once_observed(counted: Counted) -> None:
    counted.world.submit(manifests.job())
    counted.run()
    runner = counted.world.pod("sums-runner")
    counted.settle()
    counted.world.exit(runner, 0)
    counted.world.faults = [True]
    counted.settle(1)
    counted.settle(1)
    assert counted.jobs.to_end.count("Succeeded") == 1


def test_job_transitions_are_logged_without_the_jobs_output(
    counted: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "daskjob.controller.job_metrics"):
        counted.world.submit(manifests.job(backoffLimit=0))
        counted.run()
        counted.world.exit(counted.world.pod("sums-runner"), 3, message="token=hunter2")
        counted.settle(1)
    logged = [record.getMessage() for record in caplog.records]
    assert logged[:2] == ["Starting", "Running"]
    assert logged[-1].startswith("Failed, ")
    assert logged[-1].endswith("exit code 3")
    assert "hunter2" not in " ".join(logged)
    assert {record.__dict__["key"] for record in caplog.records} == {
        Key("DaskJob", "default", "sums")
    }


def test_all_job_metrics_are_dropped_when_another_operator_takes_over(counted: Counted) -> None:
    counted.world.submit(manifests.job())
    counted.run()
    counted.jobs.clear()
    assert counted.places() == {}


# Only the leader writes


def test_operator_that_lost_the_lead_writes_nothing(counted: Counted) -> None:
    key = counted.world.submit(manifests.job())
    counted.leads = False
    with pytest.raises(NotLeading):
        asyncio.run(reconcile(counted.leader_only, key, counted.world.now))
    assert counted.world.writes == []


def test_every_kind_of_write_needs_the_lead(counted: Counted) -> None:
    counted.leads = False
    leader_only, ref = counted.leader_only, ObjectRef("Pod", "default", "a", "uid")
    key = Key("DaskJob", "default", "a")
    for write in (
        leader_only.create(key, manifests.job()),
        leader_only.delete(ref),
        leader_only.stop(ref),
        leader_only.patch(Patch(ref, {})),
        leader_only.retire(ref, Retire((), 60, None)),
        leader_only.write_status(ref, {}),
        leader_only.emit(ref, ()),
    ):
        with pytest.raises(NotLeading):
            asyncio.run(write)
    assert counted.world.writes == []


def test_leading_operator_writes_all_that_a_pass_decides(counted: Counted) -> None:
    counted.world.submit(manifests.job())
    counted.run()
    counted.exit(0)
    for _ in range(5):
        counted.settle(10)
    verbs = {write.split()[0] for write in counted.world.writes}
    assert {"create", "status", "delete", "report"} <= verbs
