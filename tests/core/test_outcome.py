"""The outcome of an attempt: success is only the main container's 0 before any stop (§4.1)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from daskjob.core.manifests import Manifest, format_time, object_ref
from tests.core.manifests import container, pod
from tests.core.stories import Story, running

NEVER = {"restartPolicy": "Never"}


def say(story: Story, *, meta: Manifest | None = None, **status: Any) -> None:
    """Set fields of the runner's status as Kubernetes does, and run passes."""
    world, found = story.world, story.runner()
    if meta:
        patch = {"metadata": meta, **({"spec": status.pop("spec")} if "spec" in status else {})}
        world.store.patch(object_ref(found), patch)
    elif "spec" in status:
        world.store.patch(object_ref(found), {"spec": status.pop("spec")})
    fresh = story.runner()
    world.store.write_status(object_ref(fresh), {**fresh.get("status", {}), **status})
    story.settle()


def main_ended(story: Story, code: int, *, seconds_ago: float = 0, name: str = "job") -> Manifest:
    """Return the status of a main container that ended some seconds ago."""
    at = format_time(story.world.now - timedelta(seconds=seconds_ago))
    return {"name": name, "state": {"terminated": {"exitCode": code, "finishedAt": at}}}


def test_exit_code_0_is_success() -> None:
    story = running(runner=NEVER)
    story.end_runner(0)
    assert (story.word, story.status.exit_code, story.status.reason) == (
        "Successful",
        0,
        "Completed",
    )


def deep(levels: int) -> object:
    """A list of lists."""
    found: object = 1
    for _ in range(levels):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("report", "kept"),
    [
        ({"tasks": 1, "rows": ["x" * 5000]}, {"tasks": 1}),
        ({"tasks": 1, "a": "x" * 3000, "b": "y" * 2000}, {"tasks": 1, "b": "y" * 2000}),
        ({"rows": "x" * 5000}, None),
        ({"tasks": deep(50)}, None),
        ({"tasks": deep(5)}, {"tasks": deep(5)}),
        ({"tasks": float("nan")}, None),
    ],
    ids=["large", "largest first", "too large", "too deep", "deep", "no JSON"],
)
def test_report_that_is_too_large_or_too_deep_for_a_status_is_cut(
    report: Manifest, kept: Manifest | None
) -> None:
    """A scheduler of a tenant answers what it likes; the job ends all the same."""
    story = running(runner=NEVER)
    story.world.report = report
    story.end_runner(0)
    assert (story.word, story.status.report) == ("Successful", kept)


@pytest.mark.parametrize("code", [1, 3, 137, 143, 255])
def test_any_other_exit_code_is_the_jobs_own_failure(code: int) -> None:
    story = running(runner=NEVER)
    story.end_runner(code)
    assert (story.word, story.status.exit_code, story.status.reason) == (
        "Failed",
        code,
        "ExitCode",
    )


def test_a_container_out_of_memory_is_reported_as_such() -> None:
    story = running(runner=NEVER)
    story.end_runner(137, reason="OOMKilled")
    assert (story.word, story.status.reason) == ("Failed", "OOMKilled")


@pytest.mark.parametrize(("code", "word"), [(0, "Successful"), (1, "Failed")])
def test_a_sidecar_that_never_ends_does_not_keep_a_job_alive(code: int, word: str) -> None:
    runner = {**pod(container("job"), container("proxy")), **NEVER}
    story = running(runner=runner)
    proxy = {"name": "proxy", "state": {"running": {}}}
    say(story, phase="Running", containerStatuses=[main_ended(story, code), proxy])
    assert story.word == word
    # A pod without a sidecar ends by itself in this time.
    assert "stop Pod/sums-runner" not in story.writes
    story.after(5)
    assert "stop Pod/sums-runner" in story.writes


def test_the_end_of_a_sidecar_is_not_the_jobs() -> None:
    story = running(runner={**pod(container("job"), container("proxy")), **NEVER})
    ended = main_ended(story, 0, name="proxy")
    say(story, containerStatuses=[ended, {"name": "job", "state": {"running": {}}}])
    assert story.word == "Running"


def test_an_exit_code_0_after_the_deadlines_sigterm_is_a_failure() -> None:
    story = running(runner=NEVER, attemptDeadlineSeconds=60)
    story.world.advance(59)
    say(story, spec={"activeDeadlineSeconds": 59})
    status = [main_ended(story, 0)]
    say(story, phase="Failed", reason="DeadlineExceeded", containerStatuses=status)
    assert (story.word, story.status.reason) == ("Failed", "AttemptDeadlineExceeded")


def test_an_exit_code_0_ten_seconds_before_the_stop_is_success() -> None:
    story = running(runner=NEVER)
    say(story, spec={"activeDeadlineSeconds": 60})
    story.world.advance(60)
    status = [main_ended(story, 0, seconds_ago=10)]
    say(story, phase="Failed", reason="DeadlineExceeded", containerStatuses=status)
    assert story.word == "Successful"


@pytest.mark.parametrize(
    ("reason", "reported"),
    [("Evicted", "Evicted"), ("Preempting", "Evicted"), ("NodeLost", "NodeLost")],
)
def test_an_exit_code_0_of_a_pod_stopped_by_kubernetes_has_that_reason(
    reason: str, reported: str
) -> None:
    story = running(runner=NEVER)
    say(story, phase="Failed", reason=reason, containerStatuses=[main_ended(story, 0)])
    assert (story.word, story.status.reason) == ("Failed", reported)


def test_an_exit_code_0_after_a_preemption_is_an_eviction() -> None:
    story = running(runner=NEVER)
    target = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "lastTransitionTime": format_time(story.world.now),
    }
    story.world.advance(2)
    say(
        story,
        phase="Failed",
        conditions=[target],
        containerStatuses=[main_ended(story, 0)],
    )
    assert (story.word, story.status.reason) == ("Failed", "Evicted")


@pytest.mark.parametrize(
    ("finished_ago", "word"), [(40, "Successful"), (25, "Failed")], ids=["before", "after"]
)
def test_a_deletion_counts_from_its_request_not_from_when_it_is_due(
    finished_ago: int, word: str
) -> None:
    story = running(runner=NEVER)
    story.world.advance(60)
    meta = {
        "deletionTimestamp": format_time(story.world.now),
        "deletionGracePeriodSeconds": 30,
    }
    ended = main_ended(story, 0, seconds_ago=finished_ago)
    fresh = story.runner()
    story.world.store.patch(object_ref(fresh), {"metadata": meta})
    say(story, phase="Succeeded", containerStatuses=[ended])
    assert story.word == word


def test_a_terminating_runner_that_still_runs_has_not_ended_yet() -> None:
    story = running(runner=NEVER)
    story.world.store.delete(object_ref(story.runner()))
    story.settle()
    assert story.word == "Running"


def test_a_missing_runner_without_an_exit_code_was_lost() -> None:
    story = running(runner=NEVER)
    story.world.lose(story.runner())
    story.settle()
    assert (story.word, story.status.reason) == ("Failed", "RunnerLost")
    assert "sums-runner" in story.status.message
    assert story.writes.count("create Pod/sums-runner") == 1


def test_an_init_container_that_failed_is_the_jobs_own_failure_with_its_exit_code() -> None:
    story = running(runner=NEVER)
    init = main_ended(story, 4, name="fetch")
    say(
        story,
        phase="Failed",
        initContainerStatuses=[init],
        containerStatuses=[{"name": "job", "state": {"waiting": {"reason": "PodInitializing"}}}],
    )
    assert (story.status.reason, story.status.exit_code) == ("ExitCode", 4)
    assert "fetch" in story.status.message


def test_a_pod_rejected_by_its_node_was_evicted() -> None:
    story = running(runner=NEVER)
    say(
        story,
        phase="Failed",
        reason="OutOfcpu",
        message="Pod was rejected: Node didn't have enough resource: cpu",
        containerStatuses=[],
    )
    assert story.status.reason == "Evicted"
    assert "OutOfcpu" in story.status.message


def test_a_container_lost_by_the_kubelet_is_no_failure_of_the_user() -> None:
    story = running(runner=NEVER)
    story.end_runner(137, reason="ContainerStatusUnknown")
    assert story.status.reason == "RunnerLost"


@pytest.mark.parametrize(
    ("output", "code", "result", "text"),
    [
        ('{"sum": 3}', 0, {"sum": 3}, "exited with code 0"),
        ("[1, 2]", 0, [1, 2], "exited with code 0"),
        ("not json", 0, None, "is not JSON"),
        ('"' + "x" * 4096 + '"', 0, None, "longer than 4096 bytes"),
        ("", 0, None, "exited with code 0"),
        ('{"sum": 3}', 1, None, "exited with code 1"),
    ],
    ids=["object", "list", "no JSON", "4098 bytes", "nothing", "not with a failure"],
)
def test_a_result_is_json_of_4096_bytes_and_counts_only_with_exit_code_0(
    output: str, code: int, result: object, text: str
) -> None:
    story = running(runner=NEVER)
    story.end_runner(code, message=output)
    assert story.status.result == result
    assert text in story.status.message


def test_a_runner_terminating_for_600_s_is_lost_with_its_node() -> None:
    story = running(runner=NEVER)
    story.world.store.delete(object_ref(story.runner()))
    story.world.advance(599)
    story.settle()
    assert story.word == "Running"
    wake_at = story.decision().wake_at
    assert wake_at is not None
    assert wake_at <= story.world.now + timedelta(seconds=1)
    story.world.advance(1)
    story.settle()
    assert (story.word, story.status.reason) == ("Failed", "NodeLost")


def cannot_start(story: Story, code: int, reason: str, message: str) -> Manifest:
    """Return the status of a main container that its node could not start."""
    at = format_time(story.world.now)
    ended = {"exitCode": code, "reason": reason, "message": message, "finishedAt": at}
    return {"name": "job", "state": {"terminated": ended}}


@pytest.mark.parametrize(
    ("code", "reason", "message"),
    [
        (
            128,
            "StartError",
            "failed to create containerd task: unable to start container process: error during "
            'container init: exec: "pyhton": executable file not found in $PATH',
        ),
        (127, "ContainerCannotRun", 'exec: "/app": stat /app: no such file or directory'),
        (127, "StartError", "cannot run pyhton: there is no such program in PATH (/bin)"),
        (2, "Error", "python: can't open file '/app/a.py': [Errno 2] No such file or directory"),
    ],
)
def test_command_that_does_not_exist_is_not_retried(code: int, reason: str, message: str) -> None:
    story = running(backoffLimit=5)
    say(story, phase="Failed", containerStatuses=[cannot_start(story, code, reason, message)])
    assert (story.word, story.status.reason, story.status.exit_code) == ("Failed", "ExitCode", code)


@pytest.mark.parametrize(
    ("code", "reason", "message"),
    [
        (
            128,
            "StartError",
            "failed to create shim task: error mounting: no such file or directory",
        ),
        (128, "StartError", "failed to create cgroup: device or resource busy"),
        (2, "Error", "usage: a.py [-h]\na.py: error: unrecognized arguments"),
        (1, "Error", "FileNotFoundError: [Errno 2] No such file or directory: 'a.csv'"),
    ],
)
def test_failure_that_may_pass_is_retried(code: int, reason: str, message: str) -> None:
    story = running(backoffLimit=5)
    say(story, phase="Failed", containerStatuses=[cannot_start(story, code, reason, message)])
    assert story.status.phase == "Retrying"


#: What a script ends with after a worker that ran its task died, and what its scheduler reports.
KILLED = (
    "distributed.scheduler.KilledWorker: Attempted to run task 'hog-1' on 1 different workers, but "
    "all those workers died while running it."
)


def killed_worker() -> tuple[Story, Manifest]:
    """A job whose runner has ended since it lost a worker, and that worker, which seems to run."""
    story = running(backoffLimit=0)
    worker = story.workers()[0]
    losses = [[worker["metadata"]["name"], 0, ["hog"], 0, 0]]
    story.world.report = {"tasks": {"total": 1}, "workers": {"losses": losses}}
    story.end_runner(1, message=KILLED)
    return story, worker


def end_of_worker(story: Story, worker: Manifest, reason: str) -> None:
    story.world.exit(worker, 137, reason=reason)
    story.settle()


@pytest.mark.parametrize("seconds", [0, 2, 4])
def test_worker_whose_end_is_reported_after_the_runners_explains_it(seconds: int) -> None:
    story, worker = killed_worker()
    story.after(seconds)
    assert (story.word, story.status.attempts) == ("Running", ())
    end_of_worker(story, worker, "OOMKilled")
    [attempt] = story.status.attempts
    assert "it exceeded the memory limit of its container" in attempt.message


def test_worker_whose_end_is_not_reported_is_waited_for_5_s() -> None:
    story, _ = killed_worker()
    story.after(4)
    assert story.decision().wake_at == story.world.now + timedelta(seconds=1)
    story.after(1)
    [attempt] = story.status.attempts
    assert "Most often it uses too much memory" in attempt.message


def by_name(pod: Manifest) -> str:
    return str(pod["metadata"]["name"])


def by_name_and_number(pod: Manifest) -> str:
    return f"{by_name(pod)}-3"


@pytest.mark.parametrize("named", [by_name, by_name_and_number])
def test_killed_worker_whose_end_is_known_is_not_waited_for(
    named: Callable[[Manifest], str],
) -> None:
    story = running(backoffLimit=0)
    worker, *_ = story.workers()
    losses = [[named(worker), 0, ["hog"], 0, 0]]
    story.world.report = {"workers": {"losses": losses}}
    story.world.restart(worker, 137)
    story.settle()
    story.end_runner(1, message=KILLED)
    assert story.word == "Failed"


def test_no_worker_is_waited_for_if_the_runner_was_stopped() -> None:
    story = running(backoffLimit=0)
    story.end_runner(1, message=KILLED, pod_reason="Evicted")
    assert [attempt.reason for attempt in story.status.attempts] == ["Evicted"]


def test_worker_of_another_name_may_explain_the_end_too() -> None:
    story = running(backoffLimit=0)
    story.world.report = {"workers": {"losses": [["7", 0, ["hog"], 0, 0]]}}
    story.end_runner(1, message=KILLED)
    assert story.word == "Running"
    end_of_worker(story, story.workers()[1], "OOMKilled")
    [attempt] = story.status.attempts
    assert "it exceeded the memory limit of its container" in attempt.message
