"""Few status writes, since each wakes external controllers (design §2.3, §5.2)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from daskjob.core.decide.status_timing import PATIENCE, SETTLED, WORDING
from daskjob.core.errors import RejectionKind
from daskjob.core.manifests import Key, object_ref
from daskjob.core.names import Component
from tests.core.lives import Life
from tests.core.manifests import cluster, cluster_spec, group, job
from tests.core.stories import CLUSTER, GROUP, JOB, Story, job_story

#: Requests of a job with N workers in addition to N, from creation to cleanup.
BUDGET = 13


def lived(
    workers: int,
    spread: float,
    end: float,
    *,
    scheduler: float = 1.6,
    probe: float = 0.7,
    runner: float = 1.3,
    first: float = 1.5,
    until: float = 60,
) -> Life:
    """Run a job whose workers become ready one by one and whose runner exits with 0."""
    life = Life(job(cluster={"spec": cluster_spec(workers)}))
    life.pod_starts(Component.SCHEDULER, scheduler, probe=probe)
    life.pod_starts(Component.RUNNER, runner)
    for index in range(workers):
        life.pod_starts(Component.WORKER, first + spread * (index + 1) / workers, index=index)
    life.runner_ends(end)
    life.until(end + until)
    assert life.word == "Successful"
    assert life.named(CLUSTER) is None
    return life


@pytest.mark.parametrize("workers", [2, 10])
@pytest.mark.parametrize(
    "life",
    [
        lambda n: lived(n, spread=3, end=60),
        lambda n: lived(n, spread=3, end=1800),
        lambda n: lived(n, spread=3, end=5.5),
        lambda n: lived(n, spread=6, end=8.2),
        lambda n: lived(n, spread=20, end=24),
        lambda n: lived(n, spread=0, end=2.5),
        lambda n: lived(n, spread=3, end=1.2, runner=0.9),
        lambda n: lived(n, spread=3, end=30, scheduler=4, probe=2),
        lambda n: lived(n, spread=3, end=30, runner=4.4),
        lambda n: lived(n, spread=1, end=30, scheduler=2.5, first=1, probe=0),
    ],
    ids=[
        "workers over 3 s, and a minute's work",
        "workers over 3 s, and half an hour's work",
        "workers over 3 s, no work",
        "workers over 6 s, no work",
        "workers over 20 s, no work",
        "workers all at once, no work",
        "runner that ends before the scheduler answers",
        "slow scheduler",
        "slow runner",
        "workers before the scheduler",
    ],
)
def test_a_job_with_n_workers_takes_at_most_n_plus_13_requests(
    life: Callable[[int], Life], workers: int
) -> None:
    assert len(life(workers).requests()) <= workers + BUDGET


@pytest.mark.parametrize("workers", [2, 10])
@pytest.mark.parametrize("spread", [6, 20, 29])
def test_slow_workers_of_a_long_job_cost_3_more_requests_once_all_are_ready(
    spread: float, workers: int
) -> None:
    """One each for the job, its cluster and its group: none reports readiness too early."""
    assert len(lived(workers, spread, end=600).requests()) <= workers + BUDGET + 3


@pytest.mark.parametrize(("end", "more"), [(62, 3), (600, 6)])
def test_10_workers_that_come_over_a_minute_cost_3_or_6_more_requests(
    end: float, more: int
) -> None:
    """One each for the job, its cluster and its group after 30 s, and once all are ready."""
    life = lived(10, spread=60, end=end)
    assert len(life.requests()) == 10 + BUDGET + more


@pytest.mark.parametrize(("seconds", "more"), [(20, 1), (600, 2)])
def test_pulling_images_costs_1_or_2_more_requests(seconds: float, more: int) -> None:
    """The group's count, on which an HPA relies, after 5 s; ``Pending`` of its cluster after 30."""
    life = lived(10, 3, end=900, scheduler=seconds, runner=seconds, first=seconds - 1)
    assert len(life.requests()) <= 10 + BUDGET + more


def test_a_successful_job_takes_n_plus_6_requests_besides_statuses() -> None:
    life = lived(10, spread=3, end=60)
    others = [request for request in life.requests() if not request.startswith("status")]
    assert [a for a in others if "-worker-" not in a] == [
        "create Pod/sums-runner",
        "create DaskCluster/sums",
        "create Pod/sums-scheduler",
        "create Service/sums-scheduler",
        "create DaskWorkerGroup/sums-default",
        "delete DaskCluster/sums",
    ]
    assert len(others) == 10 + 6


def test_a_converged_job_sends_no_requests_for_hours() -> None:
    life = Life(job())
    life.pod_starts(Component.SCHEDULER, 1)
    life.pod_starts(Component.RUNNER, 1)
    for index in range(2):
        life.pod_starts(Component.WORKER, 1, index=index)
    life.until(60)
    before = life.requests()
    life.until(4 * 3600)
    assert life.requests() == before


# Timing of status writes


def starting(workers: int = 10) -> Life:
    """Return a job whose objects were just created."""
    life = Life(job(cluster={"spec": cluster_spec(workers)}))
    life.until(0.1)
    return life


def test_the_first_status_and_the_names_are_written_at_once() -> None:
    story = job_story()
    story.one_pass()
    assert (story.word, story.status.policy is not None) == ("JobCreated", True)
    assert story.status.cluster_name == ""
    story.one_pass()
    assert story.word == "ClusterCreated"
    assert (story.status.cluster_name, story.status.job_runner_pod_name) == ("sums", "sums-runner")


def test_a_cluster_reports_created_at_once() -> None:
    assert starting().status_of(CLUSTER)["phase"] == "Created"


def test_no_step_of_a_pods_start_is_written_separately() -> None:
    life = starting()
    before = life.requests()
    for pod in life.world.pods():
        for step in (life.world.schedule, lambda p: life.world.wait_with(p, "ContainerCreating")):
            step(pod)
            life.settle()
    for worker in life.workers()[:-1]:
        life.world.start(worker, ready=False)
        life.settle()
        life.world.becomes_ready(worker)
        life.settle()
    life.world.start(life.scheduler(), ready=False)
    life.settle()
    assert life.requests() == before


def test_running_is_written_at_once_where_scheduler_and_workers_are_ready() -> None:
    life = starting()
    for pod in [life.scheduler(), *life.workers()]:
        life.world.start(pod)
    life.settle()
    life.world.start(life.runner())
    life.settle()
    assert (life.word, life.condition("WorkersReady")) == ("Running", (True, "AllReady"))


def test_running_is_written_5_s_after_the_runners_start_where_workers_are_missing() -> None:
    life = starting()
    life.pod_starts(Component.SCHEDULER, 20)
    life.pod_starts(Component.RUNNER, 20)
    life.pod_starts(Component.WORKER, 24)
    life.until(24.9)
    assert life.word == "ClusterCreated"
    life.until(25.1)
    assert life.word == "Running"
    assert life.status.workers is not None
    assert (life.status.workers.ready, life.status.workers.desired) == (1, 10)


def test_10_workers_arriving_over_a_minute_are_written_every_30_s_and_when_complete() -> None:
    life = starting()
    life.pod_starts(Component.SCHEDULER, 1)
    life.pod_starts(Component.RUNNER, 1)
    for index in range(10):
        life.pod_starts(Component.WORKER, 10 + 6 * index, index=index)
    life.until(300)
    # The first status, the names, Running without a worker, an intermediate count, and all.
    assert life.status_writes() == 5
    assert life.condition("WorkersReady") == (True, "AllReady")


def test_a_lost_worker_replaced_within_5_s_is_not_written() -> None:
    life = starting(2)
    life.pod_starts(Component.SCHEDULER, 1)
    life.pod_starts(Component.RUNNER, 1)
    for index in range(2):
        life.pod_starts(Component.WORKER, 1, index=index)
    life.until(100)
    before = life.requests()
    life.at(100, lambda: life.world.store.delete(object_ref(life.workers()[0])))
    life.at(101, life.world.kubelet)
    life.pod_starts(Component.WORKER, 103, index=1)
    life.until(200)
    assert life.ready_workers() == 2
    assert [r for r in life.requests()[len(before) :] if r.startswith("status")] == []


def test_a_lost_worker_not_replaced_for_5_s_is_written() -> None:
    life = starting(2)
    life.pod_starts(Component.SCHEDULER, 1)
    life.pod_starts(Component.RUNNER, 1)
    for index in range(2):
        life.pod_starts(Component.WORKER, 1, index=index)
    life.until(100)
    life.at(100, lambda: life.world.store.delete(object_ref(life.workers()[0])))
    life.at(101, life.world.kubelet)
    life.until(107)
    assert life.condition("WorkersReady") == (False, "Starting")


def test_changes_deferred_until_the_runners_end_are_written_with_it() -> None:
    life = starting(2)
    for pod in (life.scheduler(), *life.workers()[:1]):
        life.world.start(pod)
    life.world.start(life.runner())
    life.settle()
    assert life.word == "ClusterCreated"
    life.world.exit(life.runner(), 0)
    life.settle()
    assert life.word == "Successful"
    assert life.condition("SchedulerReady") == (True, "Answers")
    assert life.condition("WorkersReady") == (False, "Starting")
    assert life.condition("RunnerReady") == (False, "Ended")
    assert life.status_of(JOB)["workers"] == {"desired": 2, "ready": 1}


# Failures are not deferred


def test_a_failure_is_written_at_once_along_with_deferred_changes() -> None:
    life = starting()
    life.world.start(life.scheduler())
    life.world.start(life.runner())
    life.settle()
    assert life.word == "ClusterCreated"
    life.world.unschedulable(life.workers()[0], "0/3 nodes are available")
    life.settle()
    assert life.word == "Running"
    assert life.condition("WorkersReady") == (False, "Unschedulable")
    conditions = life.status_of(GROUP, "sums-default")["conditions"]
    assert conditions[0]["reason"] == "Unschedulable"


def test_an_exceeded_quota_is_written_at_once() -> None:
    life = Life(job())
    life.world.reject["-worker-"] = (RejectionKind.QUOTA, "exceeded quota: small")
    life.until(0.1)
    assert life.condition("WorkersReady") == (False, "QuotaExceeded")
    conditions = life.status_of(GROUP, "sums-default")["conditions"]
    assert conditions[0]["reason"] == "QuotaExceeded"


def test_a_crash_loop_is_written_at_once() -> None:
    life = starting()
    life.world.start(life.scheduler(), ready=False)
    life.world.restart(life.scheduler())
    life.settle()
    assert life.condition("SchedulerReady") == (False, "SchedulerFailed")
    assert life.status_of(CLUSTER)["conditions"][0]["reason"] == "SchedulerFailed"


def test_a_blocked_scale_down_is_written_at_once() -> None:
    story = Story(cluster())
    story.bring_up()
    _scale(story, GROUP, "simple-default", 1)
    story.one_pass(Key(GROUP, "default", "simple-default"))
    assert story.status_of(GROUP, "simple-default")["conditions"][0]["reason"] == "ScaleDownBlocked"


def test_a_failure_whose_message_changes_every_5_s_is_written_once_a_minute() -> None:
    story = job_story()
    story.settle()
    story.world.unschedulable(story.runner(), "0/1 nodes are available")
    story.settle()
    before = len(story.writes)
    for nodes in range(3 * WORDING.seconds // 5):
        story.world.unschedulable(story.runner(), f"0/{nodes} nodes are available")
        story.after(5)
    statuses = [w for w in story.writes[before:] if w == f"status {JOB}/sums"]
    assert len(statuses) == 3


# The scale subresource


def _scale(story: Story, kind: str, name: str, replicas: int) -> None:
    item = story.named(kind, name)
    assert item is not None
    story.world.store.patch(object_ref(item), {"spec": {"worker": {"replicas": replicas}}})


@pytest.mark.parametrize(
    ("kind", "name"), [(CLUSTER, "simple"), (GROUP, "simple-default")], ids=["cluster", "group"]
)
def test_replicas_and_selector_are_right_5_s_after_the_pods_creation(kind: str, name: str) -> None:
    life = Life(cluster())
    life.until(5.1)
    status = life.status_of(kind, name)
    assert status["replicas"] == 2
    assert "dask.org/workergroup-name=simple-default" in status["selector"]


@pytest.mark.parametrize(
    ("kind", "name"), [(CLUSTER, "simple"), (GROUP, "simple-default")], ids=["cluster", "group"]
)
@pytest.mark.parametrize("replicas", [1, 5])
def test_replicas_are_right_5_s_after_scaling(kind: str, name: str, replicas: int) -> None:
    life = Life(cluster())
    life.until(0.1)
    life.world.start_all()
    life.world.schedulers_answer()
    life.until(100)
    life.at(100, lambda: _scale(life, kind, name, replicas))
    life.at(101, life.world.kubelet)
    life.until(106.1)
    assert life.status_of(kind, name)["replicas"] == replicas


def test_a_user_made_cluster_reports_at_once_that_its_scheduler_answers() -> None:
    life = Life(cluster())
    life.until(1)
    life.world.start(life.scheduler())
    life.settle()
    assert life.status_of(CLUSTER)["phase"] == "Running"


def test_a_group_that_waits_for_its_cluster_reports_it_at_once() -> None:
    life = Life(group())
    life.until(0.1)
    assert life.status_of(GROUP)["conditions"][0]["reason"] == "ClusterMissing"


# Deferred changes have a wake time


@pytest.mark.parametrize(
    "key",
    [
        Key(JOB, "default", "sums"),
        Key(CLUSTER, "default", "sums"),
        Key(GROUP, "default", "sums-default"),
    ],
    ids=["job", "cluster", "group"],
)
def test_a_pass_with_deferred_changes_asks_to_be_woken_to_write_them(key: Key) -> None:
    life = starting()
    life.world.start(life.scheduler())
    life.world.start(life.runner())
    life.world.start(life.workers()[0])
    decision = life.decision(key)
    assert decision.status is None
    assert decision.wake_at is not None
    assert 0 < (decision.wake_at - life.world.now).total_seconds() <= SETTLED.seconds


def test_pods_of_a_node_with_a_clock_an_hour_ahead_defer_nothing() -> None:
    life = starting()
    for pod in [life.scheduler(), life.runner(), *life.workers()[:3]]:
        life.world.start(pod)
        ahead = life.world.now.replace(hour=13).isoformat()
        status = life.world.pod(pod["metadata"]["name"])["status"]
        for condition in status["conditions"]:
            condition["lastTransitionTime"] = ahead
        for container in status["containerStatuses"]:
            container["state"]["running"]["startedAt"] = ahead
    life.until(PATIENCE.seconds + 1)
    assert life.word == "Running"


# Progress


def with_10_workers() -> Story:
    """Return a job with a running scheduler, runner and 10 workers."""
    story = job_story(cluster={"spec": cluster_spec(replicas=10)})
    story.bring_up()
    return story


def status_writes(story: Story, kind: str = JOB) -> int:
    """Return the number of status writes of a kind."""
    return sum(1 for w in story.writes if w.startswith(f"status {kind}/"))


def test_progress_is_written_at_most_every_30_s() -> None:
    story = with_10_workers()
    story.world.schedulers_answer(total=1000, processing=2)
    story.after(5)
    before = status_writes(story)
    for done in range(60):
        story.world.schedulers_answer(total=1000, done=done, processing=2)
        story.after(1)
    assert status_writes(story) - before == 2


def test_progress_is_written_from_the_first_task_on() -> None:
    story = with_10_workers()
    moments = []
    for done in range(90):
        story.world.schedulers_answer(total=1000, done=done, processing=2)
        story.after(1)
        progress = story.status.progress
        moments += [progress.updated_at] if progress and progress.updated_at else []
    waits = [(b - a).total_seconds() for a, b in pairwise(sorted(set(moments)))]
    assert waits == [30, 30]


def test_with_an_interval_of_0_no_progress_is_written() -> None:
    story = job_story(progress={"intervalSeconds": 0})
    story.bring_up()
    story.world.schedulers_answer(total=3, processing=1)
    story.after(60)
    assert story.status.progress is None
