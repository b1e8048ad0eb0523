"""Starts that cannot succeed, and the patience with each (design §3.1, the table)."""

from __future__ import annotations

import pytest

from daskjob.core.errors import RejectionKind
from daskjob.core.manifests import Key, Manifest, format_time, metadata, object_ref
from daskjob.core.pod_warnings import PodWarning
from tests.core import manifests
from tests.core.manifests import cluster, cluster_spec, container, job
from tests.core.stories import Story, job_story, running

MANY = "exceeded quota: small, requested: pods=1, used: pods=10, limited: pods=10"


def starting(**spec: object) -> Story:
    """Return a job whose first objects were created, without retries."""
    story = job_story(**{"backoffLimit": 0, "failurePolicy": {"maxIgnored": 0}, **spec})
    story.settle()
    return story


def rejected(part: str, kind: RejectionKind, message: str = "no", **spec: object) -> Story:
    """Return a job with one rejected object."""
    story = job_story(**{"backoffLimit": 0, "failurePolicy": {"maxIgnored": 0}, **spec})
    story.world.reject[part] = (kind, message)
    story.settle()
    return story


def tries(story: Story) -> int:
    """Return how often the rejected object was requested."""
    return sum(rejection.tries for rejection in story.world.rejections.values())


@pytest.mark.parametrize("component", ["runner", "scheduler"])
@pytest.mark.parametrize(
    ("state", "message", "reason"),
    [
        ("ImagePullBackOff", "no such image", "ImagePull"),
        ("ErrImagePull", "no such image", "ImagePull"),
        ("ErrImageNeverPull", "not present with pull policy of Never", "ImagePull"),
        ("CreateContainerConfigError", 'secret "s3" not found', "ConfigMissing"),
        ("CreateContainerConfigError", "container has runAsNonRoot", "ContainerFailed"),
        ("CreateContainerError", "no command specified", "ContainerFailed"),
        ("RunContainerError", 'exec: "x": not found', "ContainerFailed"),
    ],
)
def test_a_pod_that_its_node_cannot_start_ends_the_attempt_after_600_s(
    component: str, state: str, message: str, reason: str
) -> None:
    story = starting()
    pod = story.runner() if component == "runner" else story.scheduler()
    story.world.wait_with(pod, state, message)
    story.after(599)
    assert not story.status.finished
    assert story.status.reason == reason
    story.after(1)
    assert (story.word, story.status.reason) == ("Failed", reason)
    assert message in story.status.message


def test_a_scheduler_that_ran_for_hours_has_another_600_s_for_its_image() -> None:
    story = running(onSchedulerLoss="Ignore", backoffLimit=0, failurePolicy={"maxIgnored": 0})
    story.after(10_000)
    story.world.wait_with(story.scheduler(), "ImagePullBackOff", "no such image")
    story.after(599)
    assert not story.status.finished
    story.after(1)
    assert (story.word, story.status.reason) == ("Failed", "ImagePull")


def test_time_in_the_queue_does_not_count_as_image_pull() -> None:
    story = starting()
    story.world.unschedulable(story.runner(), "0/3 nodes are available")
    story.after(3600)
    runner = story.runner()
    story.world.start(runner)
    story.world.wait_with(story.runner(), "ErrImagePull", "i/o timeout")
    story.after(599)
    assert not story.status.finished
    story.after(1)
    assert story.status.reason == "ImagePull"


BAD_NAME = "couldn't parse image name UPPER/case: invalid reference format"


@pytest.mark.parametrize("component", ["runner", "scheduler", "workers"])
def test_an_invalid_image_name_ends_the_job_without_a_retry(
    component: str,
) -> None:
    story = job_story()
    story.settle()
    pods = {
        "runner": [story.runner()],
        "scheduler": [story.scheduler()],
        "workers": story.workers(),
    }
    for pod in pods[component]:
        story.world.wait_with(pod, "InvalidImageName", BAD_NAME)
    story.settle()
    assert (story.word, story.status.reason) == ("Failed", "ImagePull")
    assert [attempt.number for attempt in story.status.attempts] == [0]
    assert "UPPER/case" in story.status.message
    assert "Correct the image's name" in story.status.message


def test_an_invalid_image_name_is_retried_if_a_rule_requires_it() -> None:
    rule = {"action": "Ignore", "onReasons": ["ImagePull"]}
    story = job_story(failurePolicy={"rules": [rule]})
    story.settle()
    story.world.wait_with(story.runner(), "InvalidImageName", BAD_NAME)
    story.settle()
    assert (story.word, story.status.phase) == ("JobCreated", "Retrying")
    assert (story.status.attempt, story.status.ignored) == (1, 1)


def test_a_pass_asks_to_be_woken_when_the_patience_ends() -> None:
    story = starting()
    story.world.wait_with(story.runner(), "ErrImagePull", "not found")
    story.settle()
    story.world.advance(599)
    wake_at = story.decision().wake_at
    assert wake_at is not None
    assert (wake_at - story.world.now).total_seconds() == 1


def test_waiting_in_a_queue_is_no_failure_however_long() -> None:
    story = starting()
    story.world.unschedulable(story.runner(), "0/3 nodes are available: 3 Insufficient cpu.")
    story.after(1_000_000)
    assert not story.status.finished
    assert story.status.reason == "Unschedulable"
    assert "3 Insufficient cpu" in story.status.message
    assert "Unschedulable" in story.event_reasons()


# Causes known only from Events


def silent(component: str = "runner", **spec: object) -> tuple[Story, Manifest]:
    """Return a job with one pod being created without a reason; ``spec`` is the job's."""
    story = starting(**spec)
    pod = {"runner": story.runner, "scheduler": story.scheduler}[component]()
    for other in story.world.pods():
        if other is not pod:
            story.world.start(other)
    story.world.wait_with(pod, "ContainerCreating")
    story.settle()
    return story, pod


def say(story: Story, pod: Manifest, reason: str, message: str) -> None:
    """Emit an Event about a pod."""
    story.world.pod_warnings[metadata(pod)["uid"]] = PodWarning(reason, message, story.world.now)


@pytest.mark.parametrize("component", ["runner", "scheduler"])
@pytest.mark.parametrize(
    ("event", "message", "reason"),
    [
        ("FailedMount", 'volume "data": exit status 32', "VolumeMount"),
        ("FailedAttachVolume", "Multi-Attach error", "VolumeMount"),
        ("FailedMount", 'configmap "settings" not found', "ConfigMissing"),
        ("FailedCreatePodSandBox", "failed to allocate for range 0", "ContainerFailed"),
    ],
)
def test_a_cause_known_only_from_an_event_is_reported_after_30_s_and_ends_the_attempt_after_600_s(
    component: str, event: str, message: str, reason: str
) -> None:
    story, pod = silent(component)
    say(story, pod, event, message)
    story.after(29)
    assert story.status.reason == ""
    story.after(1)
    assert story.status.reason == reason
    assert message in story.status.message
    story.after(569)
    assert not story.status.finished
    story.after(1)
    assert (story.word, story.status.reason) == ("Failed", reason)
    assert message in story.status.message


def test_a_pod_being_created_without_a_warning_has_unlimited_time() -> None:
    story, _ = silent()
    story.after(100_000)
    assert not story.status.finished


def test_a_warning_about_a_running_pod_is_ignored() -> None:
    story, pod = silent()
    say(story, pod, "FailedMount", "at first")
    story.after(40)
    story.world.start(pod)
    story.after(40)
    assert (story.word, story.status.reason) == ("Running", "")


def test_a_workers_warning_is_reported_on_its_group_and_on_the_job() -> None:
    story = starting()
    for pod in (story.scheduler(), story.runner()):
        story.world.start(pod)
    for worker in story.workers():
        story.world.wait_with(worker, "ContainerCreating")
        say(story, worker, "FailedMount", 'volume "scratch": exit status 32')
    story.settle()
    story.after(30)
    assert story.condition("WorkersReady") == (False, "VolumeMount")
    found = story.status_of("DaskWorkerGroup", "sums-default")["conditions"][0]
    assert (found["reason"], "scratch" in found["message"]) == ("VolumeMount", True)


def test_a_pass_asks_to_be_woken_to_look_for_an_event_after_30_s_and_every_minute() -> None:
    story, _ = silent(progress={"intervalSeconds": 0})
    story.after(10)
    wake_at = story.decision().wake_at
    assert wake_at is not None
    assert (wake_at - story.world.now).total_seconds() == 20
    story.after(20)
    wake_at = story.decision().wake_at
    assert wake_at is not None
    assert (wake_at - story.world.now).total_seconds() == 60


# A scheduler that never answers


def test_a_running_scheduler_that_never_answers_fails_after_600_s() -> None:
    story = starting()
    story.world.start(story.scheduler(), ready=False)
    story.after(599)
    assert not story.status.finished
    story.after(1)
    assert (story.word, story.status.reason) == ("Failed", "SchedulerFailed")


def test_the_time_to_pull_the_schedulers_image_is_not_counted() -> None:
    story = starting()
    story.world.start(story.scheduler(), ready=False)
    started = story.scheduler()["status"]
    story.world._set(story.scheduler(), startTime="2026-01-01T11:51:00Z")
    assert started["containerStatuses"][0]["state"]["running"]["startedAt"].startswith(
        "2026-01-01T12"
    )
    story.after(599)
    assert not story.status.finished


def test_a_scheduler_fails_after_5_restarts() -> None:
    story = starting()
    story.world.start(story.scheduler(), ready=False)
    for restart in range(5):
        assert not story.status.finished, restart
        story.world.restart(story.scheduler(), 2)
        story.settle()
    assert (story.word, story.status.reason) == ("Failed", "SchedulerFailed")
    assert "exits with code 2" in story.status.message


def test_a_scheduler_that_never_answered_is_a_user_failure_and_counted() -> None:
    story = starting(backoffLimit=1)
    story.world.start(story.scheduler(), ready=False)
    story.after(600)
    assert (story.status.failures, story.status.ignored) == (1, 0)


def init_crashes(story: Story, pod: Manifest, restarts: int) -> None:
    """Let an init container of a pod crash repeatedly."""
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}}
    last = {"terminated": {"exitCode": 7, "reason": "Error"}}
    init = {"name": "fetch", "restartCount": restarts, "state": waiting, "lastState": last}
    story.world.wait_with(pod, "PodInitializing")
    now = format_time(story.world.now)
    story.world._set(pod, initContainerStatuses=[init], startTime=now)
    story.settle()


def test_a_scheduler_whose_init_container_crashes_repeatedly_fails() -> None:
    story = starting()
    init_crashes(story, story.scheduler(), 4)
    assert story.condition("SchedulerReady") == (False, "SchedulerFailed")
    assert not story.status.finished
    init_crashes(story, story.scheduler(), 5)
    assert (story.word, story.status.reason) == ("Failed", "SchedulerFailed")
    assert "init container fetch" in story.status.message


def test_a_scheduler_whose_init_container_crashed_once_fails_after_600_s() -> None:
    story = starting()
    init_crashes(story, story.scheduler(), 1)
    story.after(599)
    assert not story.status.finished
    story.after(1)
    assert (story.word, story.status.reason) == ("Failed", "SchedulerFailed")


def test_workers_whose_init_containers_crash_repeatedly_fail() -> None:
    story = starting()
    story.world.start(story.scheduler())
    story.world.start(story.runner())
    for worker in story.workers():
        init_crashes(story, worker, 5)
    assert (story.word, story.status.reason) == ("Failed", "WorkersFailed")


# Workers that never become ready


def test_workers_that_all_restarted_5_times_without_being_ready_fail_the_attempt() -> None:
    story = starting()
    story.world.start(story.scheduler())
    story.world.start(story.runner())
    story.settle()
    for _ in range(5):
        assert not story.status.finished
        for worker in story.workers():
            story.world.restart(worker, 1)
        story.settle()
    assert (story.word, story.status.reason) == ("Failed", "WorkersFailed")


def crash_of_all_workers(story: Story) -> None:
    """Restart all workers, and let them be ready again."""
    for worker in story.workers():
        story.world.restart(worker, 137)
    story.settle()
    for worker in story.workers():
        story.world.becomes_ready(worker)
    story.settle()


@pytest.mark.parametrize("spec", [{}, {"clusterRef": {"name": "simple"}}], ids=["own", "shared"])
@pytest.mark.parametrize("seconds", [0, 30])
def test_workers_that_worked_for_days_may_restart_together_5_times(
    spec: Manifest, seconds: int
) -> None:
    """Behind a NetworkPolicy the scheduler does not answer: readiness is all that is known."""
    story = job_story(
        **spec,
        backoffLimit=0,
        failurePolicy={"maxIgnored": 0},
        progress={"intervalSeconds": seconds},
    )
    if spec:
        story.world.submit(cluster())
    story.bring_up()
    for _ in range(7):
        story.after(86_400)
        crash_of_all_workers(story)
    assert story.word == "Running"


def test_job_on_a_cluster_with_old_restarts_goes_on_while_all_probes_fail_at_once() -> None:
    shared = Story(cluster())
    shared.bring_up()
    for _ in range(6):
        crash_of_all_workers(shared)
    shared.after(3_600)
    story = Story(job(clusterRef={"name": "simple"}, backoffLimit=0), shared.world)
    story.bring_up()
    for worker in story.workers():
        story.world.becomes_ready(worker, ready=False)
    story.settle()
    assert story.word == "Running"


def test_workers_that_joined_are_remembered_when_they_begin_to_crash() -> None:
    story = running(backoffLimit=0, failurePolicy={"maxIgnored": 0})
    story.after(120)
    assert story.status.workers_joined_time is None, "the pods show it, so no write is due"
    for _ in range(9):
        story.after(1)
        for worker in story.workers():
            story.world.restart(worker, 1)
        story.settle()
        assert story.status.workers_joined_time is not None
    assert story.word == "Running"


def test_workers_that_joined_are_remembered_when_all_are_scaled_away() -> None:
    story = running(backoffLimit=0, failurePolicy={"maxIgnored": 0})
    story.world.schedulers_answer()
    story.after(120)
    story.world.edit(Key("DaskWorkerGroup", "default", "sums-default"), worker={"replicas": 0})
    story.settle()
    assert story.workers()
    assert story.status.workers_joined_time is not None


def test_workers_that_are_ready_for_a_moment_in_each_run_never_joined() -> None:
    story = starting()
    story.bring_up()
    for _ in range(5):
        assert not story.status.finished
        story.after(20)
        for worker in story.workers():
            story.world.restart(worker, 1, ready=True)
        story.after(2)
        for worker in story.workers():
            story.world.becomes_ready(worker, ready=False)
        story.settle()
    assert (story.word, story.status.reason) == ("Failed", "WorkersFailed")


def test_one_ready_worker_is_enough_to_continue() -> None:
    story = running()
    broken = story.workers()[0]
    for _ in range(9):
        story.world.restart(broken, 1)
        story.settle()
    assert story.word == "Running"


def test_workers_whose_image_cannot_be_pulled_for_600_s_fail_the_attempt() -> None:
    story = starting()
    story.world.start(story.scheduler())
    story.world.start(story.runner())
    for worker in story.workers():
        story.world.wait_with(worker, "ImagePullBackOff", "no such image")
    story.after(599)
    assert not story.status.finished
    assert story.status.reason == "ImagePull"
    story.after(1)
    assert (story.word, story.status.reason) == ("Failed", "ImagePull")


def test_the_attempt_waits_while_one_worker_may_still_start() -> None:
    story = starting()
    story.world.start(story.scheduler())
    story.world.start(story.runner())
    stuck, queued = story.workers()
    story.world.wait_with(stuck, "ImagePullBackOff", "no such image")
    story.world.unschedulable(queued, "0/3 nodes are available")
    story.after(10_000)
    assert not story.status.finished


def test_workers_that_worked_and_cannot_restart_do_not_end_the_attempt() -> None:
    story = running(backoffLimit=0, failurePolicy={"maxIgnored": 0})
    story.world.schedulers_answer(total=10, done=3)
    for worker in story.workers():
        story.world.wait_with(worker, "ImagePullBackOff", "no such image")
    story.after(1000)
    assert story.word == "Running"


# Rejections


@pytest.mark.parametrize(
    ("kind", "seconds", "reason"),
    [
        (RejectionKind.INVALID, 0, "InvalidSpec"),
        (RejectionKind.REJECTED, 600, "Rejected"),
        (RejectionKind.UNREACHED, 600, "Rejected"),
    ],
)
def test_the_attempt_ends_if_no_worker_can_be_created(
    kind: RejectionKind, seconds: int, reason: str
) -> None:
    story = rejected("-worker-", kind, "spec.containers[0].image: Required value")
    if seconds:
        story.after(seconds - 1)
        assert not story.status.finished
        assert story.condition("WorkersReady") == (False, reason)
        story.after(1)
    assert (story.word, story.status.reason) == ("Failed", reason)
    assert "spec.containers[0].image: Required value" in story.status.message


def test_a_rejection_of_one_more_worker_does_not_end_a_job_that_has_some() -> None:
    story = running()
    story.world.reject["-worker-"] = (RejectionKind.INVALID, "no")
    story.edit(cluster={"spec": {"worker": {"replicas": 3}}})
    story.after(10_000)
    assert story.word == "Running"
    assert story.condition("WorkersReady") == (False, "InvalidSpec")


def test_a_name_about_to_be_free_is_no_failure_of_a_cluster() -> None:
    story = rejected("scheduler", RejectionKind.TERMINATING, "the old one is still going")
    found = story.status_of("DaskCluster")["conditions"][0]
    assert found["reason"] == "Starting"


@pytest.mark.parametrize("part", ["runner", "scheduler", "sums-default"])
@pytest.mark.parametrize(
    ("kind", "reason"),
    [(RejectionKind.INVALID, "InvalidSpec"), (RejectionKind.CONFLICT, "NameConflict")],
)
def test_a_permanent_rejection_ends_the_job_at_once(
    part: str, kind: RejectionKind, reason: str
) -> None:
    story = rejected(part, kind, "spec.containers[0].image: Required value")
    assert (story.word, story.status.reason) == ("Failed", reason)
    assert "spec.containers[0].image: Required value" in story.status.message


def test_a_rejection_by_admission_ends_the_job_after_600_s() -> None:
    story = rejected("runner", RejectionKind.REJECTED, "denied by policy no-latest")
    story.after(599)
    assert not story.status.finished
    assert (story.status.reason, "no-latest" in story.status.message) == ("Rejected", True)
    story.after(1)
    assert (story.word, story.status.reason) == ("Failed", "Rejected")


def test_an_admission_policy_is_asked_at_most_6_times_an_hour_after_the_first_minute() -> None:
    story = rejected("-worker-", RejectionKind.REJECTED)
    story.world.reject["-worker-"] = (RejectionKind.REJECTED, "no")
    asked_at = []
    for second in range(0, 7200, 10):
        before = tries(story)
        story.settle()
        asked_at += [second] * (1 if tries(story) > before else 0)
        story.world.advance(10)
    assert len([at for at in asked_at if at <= 60]) >= 6
    asked_at = [at for at in asked_at if at > 60]
    windows = [sum(1 for at in asked_at if start <= at < start + 3600) for start in asked_at]
    assert max(windows) <= 6


def test_a_webhook_outage_is_reported_and_the_create_retried_within_a_minute() -> None:
    story = rejected("runner", RejectionKind.UNREACHED, 'failed calling webhook "v.x.io"')
    assert (story.status.reason, "v.x.io" in story.status.message) == ("Rejected", True)
    story.after(200)
    story.world.reject.clear()
    story.after(60)
    story.bring_up()
    assert (story.word, story.status.failures) == ("Running", 0)


def test_the_job_continues_once_a_rejection_is_lifted() -> None:
    story = rejected("runner", RejectionKind.REJECTED)
    story.world.reject.clear()
    story.after(120)
    story.bring_up()
    assert story.word == "Running"
    assert story.status.reason == ""


def test_an_exceeded_quota_is_waited_for_indefinitely() -> None:
    story = rejected("runner", RejectionKind.QUOTA, MANY)
    story.after(1_000_000)
    assert not story.status.finished
    assert story.status.reason == "QuotaExceeded"
    assert MANY in story.status.message


def test_a_create_over_quota_is_tried_once_a_minute() -> None:
    story = rejected("runner", RejectionKind.QUOTA, MANY)
    for _ in range(600):
        story.after(1)
    before = tries(story)
    for _ in range(600):
        story.after(1)
    assert tries(story) - before == 10


def test_a_startup_deadline_ends_the_wait_for_quota_and_names_it() -> None:
    story = rejected("runner", RejectionKind.QUOTA, MANY, startupDeadlineSeconds=30)
    story.after(30)
    assert story.status.reason == "StartupDeadlineExceeded"
    assert MANY in story.status.message


def test_a_name_about_to_be_free_is_waited_for_600_s() -> None:
    story = rejected("runner", RejectionKind.TERMINATING, "its owner is gone")
    story.after(599)
    assert not story.status.finished
    story.after(1)
    assert (story.word, story.status.reason) == ("Failed", "NameConflict")


def test_another_jobs_rejection_is_not_reported_on_this_one() -> None:
    story = running()
    story.world.reject["greedy"] = (RejectionKind.QUOTA, MANY)
    other = story.world.submit(job(name="greedy"))
    story.settle()
    assert story.world.job_status(other).reason == "QuotaExceeded"
    assert story.status.reason == ""
    cluster = story.status_of("DaskCluster")
    assert all("greedy" not in c["message"] for c in cluster["conditions"])


def test_a_spec_with_mistakes_ends_the_job_before_anything_is_created() -> None:
    story = job_story(backoffLimit=-1)
    story.settle()
    assert story.writes == ["status DaskJob/sums"]
    assert (story.word, story.status.reason) == ("Failed", "InvalidSpec")
    assert "spec.backoffLimit: -1" in story.status.message


def test_a_job_waits_600_s_for_objects_of_an_earlier_job_of_this_name() -> None:
    story = job_story()
    reference = {"kind": "DaskCluster", "uid": "of-long-ago", "controller": True}
    labels = {"dask.org/cluster-name": "sums", "dask.org/component": "scheduler"}
    meta = {"name": "sums-scheduler", "labels": labels}
    left = {
        "kind": "Pod",
        "metadata": {
            **meta,
            "ownerReferences": [{**reference, "blockOwnerDeletion": False}],
        },
        "spec": {"containers": [{"name": "scheduler"}]},
    }
    story.world.store.create(left)
    story.settle()
    story.after(599)
    assert not story.status.finished
    assert story.pod_names() == ["sums-scheduler"]
    story.after(1)
    assert (story.word, story.status.reason) == ("Failed", "NodeLost")
    assert "sums-scheduler" in story.status.message


def test_a_started_attempt_waits_600_s_for_conflicting_objects() -> None:
    story = starting()
    story.world.store.collection_paused = True
    cluster = story.named("DaskCluster")
    assert cluster is not None
    story.world.store.delete(object_ref(cluster))
    story.settle()
    story.after(599)
    assert not story.status.finished
    story.after(1)
    assert (story.word, story.status.reason) == ("Failed", "NodeLost")
    story.world.store.collection_paused = False
    story.world.store.collect()
    story.kubelet()


@pytest.mark.parametrize(
    ("part", "where"),
    [("-runner", "spec.job.spec"), ("-worker-", "spec.cluster.spec.worker.spec")],
)
def test_pod_that_is_refused_for_a_quantity_names_its_field(part: str, where: str) -> None:
    limits = {"limits": {"cpu": "500m", "memory": "4GiB"}}
    bad = manifests.pod(container("job"), container("second", resources=limits))
    spec = cluster_spec()
    if part == "-worker-":
        spec["worker"]["spec"] = bad
    story = job_story(
        cluster={"spec": spec}, runner=bad if part == "-runner" else None, backoffLimit=0
    )
    words = "quantities must match the regular expression '^([+-]?[0-9.]+)$'"
    story.world.reject[part] = (RejectionKind.INVALID, words)
    story.bring_up()
    assert (story.word, story.status.reason) == ("Failed", "InvalidSpec")
    field = f"{where}.containers[1].resources.limits.memory"
    assert f"{field} is '4GiB'. " in story.status.message
