"""The loss of a scheduler that had answered: its tasks are lost (design §3.1)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from daskjob.core.manifests import object_ref
from tests.core.stories import Story, running


def lose(story: Story, how: str) -> None:
    """Lose the scheduler in one of several ways."""
    world, scheduler = story.world, story.scheduler()
    if how == "gone":
        world.lose(scheduler)
    elif how == "restarted":
        world.restart(scheduler, 137, ready=True)
    elif how == "ended":
        world.exit(scheduler, 1)
    elif how == "deleted":
        world.store.delete(object_ref(scheduler))
    story.settle()


WAYS = pytest.mark.parametrize("how", ["gone", "restarted", "ended", "deleted"])


@WAYS
def test_the_loss_of_a_scheduler_that_answered_ends_the_attempt_at_once(how: str) -> None:
    story = running()
    lose(story, how)
    assert story.status.attempts[0].reason == "SchedulerLost"
    assert story.word == "JobCreated"


def test_a_loss_before_the_jobs_status_named_the_scheduler_ends_the_attempt_too() -> None:
    story = running()
    unnamed = {k: v for k, v in story.status_of("DaskJob").items() if k != "schedulerIdentity"}
    job = story.named("DaskJob")
    assert job is not None
    story.world.store.write_status(object_ref(job), unnamed)
    story.world.lose(story.scheduler())
    story.settle()
    assert story.status.attempts[0].reason == "SchedulerLost"


def test_the_loss_is_an_infrastructure_failure_and_not_counted() -> None:
    story = running(backoffLimit=0)
    lose(story, "gone")
    assert (story.status.failures, story.status.ignored) == (0, 1)
    story.kubelet()
    story.after(10)
    story.bring_up()
    assert (story.word, story.status.attempt) == ("Running", 1)


@pytest.mark.parametrize("how", ["gone", "restarted", "ended"])
def test_with_ignore_the_attempt_continues_with_a_new_scheduler(how: str) -> None:
    story = running(onSchedulerLoss="Ignore")
    lose(story, how)
    story.after(1)
    story.bring_up()
    assert (story.word, story.status.attempt) == ("Running", 0)
    assert story.scheduler()["status"]["phase"] == "Running"


@pytest.mark.parametrize("how", ["gone", "ended"])
def test_the_scheduler_of_an_attempt_is_created_only_once(how: str) -> None:
    story = running()
    created = story.writes.count("create Pod/sums-scheduler")
    lose(story, how)
    story.kubelet()
    assert story.writes.count("create Pod/sums-scheduler") == created == 1


def test_a_runner_that_fails_with_its_scheduler_failed_because_of_it() -> None:
    story = running()
    story.world.exit(story.runner(), 1)
    lose(story, "gone")
    attempt = story.status.attempts[0]
    assert (attempt.reason, attempt.exit_code) == ("SchedulerLost", 1)


def test_a_runner_that_exited_with_0_succeeded_even_if_its_scheduler_is_lost() -> None:
    story = running()
    story.world.exit(story.runner(), 0)
    lose(story, "gone")
    assert story.word == "Successful"


def test_a_scheduler_that_is_briefly_not_ready_is_not_lost() -> None:
    story = running()
    pod = story.scheduler()
    story.world._set(pod, conditions=[{"type": "Ready", "status": "False"}])
    story.after(60)
    assert story.word == "Running"


def test_a_scheduler_that_never_answered_cannot_be_lost() -> None:
    story = running()
    story.end_runner(1)
    story.kubelet()
    story.after(10)
    story.world.lose(story.scheduler())
    story.settle()
    assert story.status.attempt == 1
    assert len(story.status.attempts) == 1
    assert story.writes.count("create Pod/sums-scheduler") == 3


# A scheduler that was shut down on purpose


def shut_down(story: Story, how: str) -> None:
    """Let the scheduler exit with 0 by itself, as after ``client.shutdown()``."""
    world, scheduler = story.world, story.scheduler()
    if how == "started again":
        world.restart(scheduler, 0, ready=True)
    elif how == "starting again":
        world.restart(scheduler, 0)
    elif how == "ended":
        world.exit(scheduler, 0)
    story.settle()


SHUTDOWNS = pytest.mark.parametrize("how", ["started again", "starting again", "ended"])


@SHUTDOWNS
@pytest.mark.parametrize("code", [0, 3])
def test_after_a_shutdown_the_runners_own_end_decides(how: str, code: int) -> None:
    story = running(backoffLimit=0)
    shut_down(story, how)
    assert (story.word, story.status.attempt) == ("Running", 0)
    story.after(600)
    story.end_runner(code)
    assert story.word == ("Failed" if code else "Successful")
    assert story.status.exit_code == code
    assert story.status.attempts[0].reason == ("ExitCode" if code else "Completed")
    assert "SchedulerFailed" not in story.event_reasons()


def test_a_shutdown_is_remembered_when_the_restarted_scheduler_fails() -> None:
    story = running()
    shut_down(story, "started again")
    story.world.restart(story.scheduler(), 137, ready=True)
    story.settle()
    story.world.lose(story.scheduler())
    story.settle()
    assert (story.word, story.status.attempt) == ("Running", 0)
    story.end_runner(0)
    assert story.word == "Successful"


def test_a_shutdown_is_reported_without_a_problem() -> None:
    story = running()
    shut_down(story, "ended")
    for worker in story.workers():
        story.world.restart(worker, 0)
    story.after(60)
    assert story.condition("SchedulerReady") == (False, "ShutDown")
    assert story.condition("WorkersReady") == (False, "ShutDown")
    assert (story.status.reason, story.status.message) == ("", "")
    cluster = story.status_of("DaskCluster")
    (ready,) = [c for c in cluster["conditions"] if c["type"] == "SchedulerReady"]
    assert (ready["reason"], ready["status"]) == ("ShutDown", "False")
    assert story.event_reasons() == ["Started"]


def test_a_scheduler_that_was_started_again_is_reported_as_such_and_keeps_the_identity() -> None:
    story = running()
    before = story.status.scheduler_identity
    shut_down(story, "started again")
    story.after(60)
    assert story.condition("SchedulerReady") == (True, "AnswersAgain")
    assert story.status.scheduler_identity == before


@SHUTDOWNS
def test_progress_and_report_stay_those_from_before_the_shutdown(how: str) -> None:
    story = running()
    story.world.schedulers_answer(total=2, done=1)
    story.settle()
    story.world.schedulers_answer(total=4, done=4)
    shut_down(story, how)
    story.world.schedulers_answer(total=0)
    story.after(60)
    story.world.report = {"tasks": 0}
    story.end_runner(0)
    progress = story.status.progress
    assert progress is not None
    assert (progress.total, progress.done) == (4, 4)
    assert story.status.report is None
    assert not any(write.startswith("report ") for write in story.writes)


def test_after_a_shutdown_no_stall_is_looked_for() -> None:
    story = running(stallDeadlineSeconds=60, stallAction="Fail")
    story.world.schedulers_answer(total=2, done=2)
    shut_down(story, "started again")
    story.world.schedulers_answer(total=0)
    story.after(600)
    assert story.word == "Running"


def test_workers_that_end_again_and_again_after_a_shutdown_do_not_end_the_attempt() -> None:
    story = running()
    shut_down(story, "ended")
    for _ in range(6):
        for worker in story.workers():
            story.world.restart(worker, 1)
        story.settle()
    assert (story.word, story.status.attempt) == ("Running", 0)


@pytest.mark.parametrize("how", ["deleted", "evicted"])
def test_a_scheduler_that_exits_with_0_when_it_is_stopped_is_lost(how: str) -> None:
    story = running()
    if how == "deleted":
        story.world.store.delete(object_ref(story.scheduler()))
        story.world.exit(story.scheduler(), 0)
    else:
        story.world.exit(story.scheduler(), 0, pod_reason="Evicted")
    story.settle()
    assert story.status.attempts[0].reason == "SchedulerLost"


def test_the_next_attempt_can_lose_its_scheduler() -> None:
    story = running(backoffLimit=1)
    shut_down(story, "started again")
    story.end_runner(1)
    story.kubelet()
    story.after(10)
    story.bring_up()
    assert (story.word, story.status.attempt) == ("Running", 1)
    lose(story, "gone")
    assert story.status.attempts[-1].reason == "SchedulerLost"


COMM_CLOSED = """Traceback (most recent call last):
  File "job.py", line 3, in <module>
distributed.comm.core.CommClosedError: in <TCP (closed) Client->Scheduler>: Stream is closed
"""
CANCELLED = """Traceback (most recent call last):
  File "job.py", line 3, in <module>
distributed.client.FutureCancelledError: f-1 cancelled for reason: scheduler-connection-lost.
Client lost the connection to the scheduler. Please check your connection and re-run your work.
"""


def fail_unnamed(story: Story, message: str) -> None:
    """End the runner before any status had the scheduler's identity."""
    unnamed = {k: v for k, v in story.status_of("DaskJob").items() if k != "schedulerIdentity"}
    job = story.named("DaskJob")
    assert job is not None
    story.world.store.write_status(object_ref(job), unnamed)
    story.world.exit(story.runner(), 1, message=message)


@pytest.mark.parametrize("message", [COMM_CLOSED, CANCELLED])
@pytest.mark.parametrize("how", ["restarted", "ended"])
def test_a_client_that_lost_its_scheduler_is_no_failure_of_the_script(
    how: str, message: str
) -> None:
    story = running(backoffLimit=0)
    if how == "restarted":
        story.world.restart(story.scheduler(), 137)
    else:
        story.world.exit(story.scheduler(), 137)
    fail_unnamed(story, message)
    story.settle()
    [attempt] = story.status.attempts
    assert attempt.reason == "SchedulerLost"
    assert "exit code 137 (SIGKILL)" in attempt.message


def test_an_error_of_the_script_is_decided_at_once_while_the_scheduler_lives() -> None:
    story = running(backoffLimit=0)
    story.world.report = {"tasks": {"total": 1}}
    story.end_runner(1, message="ValueError: no rows")
    assert story.status.attempts[0].reason == "ExitCode"


def test_a_client_that_never_had_a_connection_has_not_lost_it() -> None:
    story = running(backoffLimit=0)
    story.end_runner(
        1,
        message="Traceback (most recent call last):\nasyncio.exceptions.CancelledError\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        "OSError: Timed out trying to connect to tcp://s:8786 after 30 s",
    )
    story.settle()
    assert story.status.attempts[0].reason == "ExitCode"


#: What a client of distributed 2024.1 raises.
WITHOUT_REASON = "concurrent.futures._base.CancelledError: f-1"
#: The same, as a process of this machine records it.
RECORDED = f"daskjob: ended by {WITHOUT_REASON}"
DISCONNECTED = pytest.mark.parametrize(
    "message", [COMM_CLOSED, CANCELLED, WITHOUT_REASON, RECORDED]
)


@DISCONNECTED
def test_a_lost_connection_is_the_scripts_own_error_if_the_scheduler_lives_5_s_longer(
    message: str,
) -> None:
    story = running(backoffLimit=0)
    story.world.report = {"tasks": {"total": 1}}
    story.end_runner(1, message=message)
    story.after(4)
    assert (story.word, story.status.attempts) == ("Running", ())
    assert story.decision().wake_at == story.world.now + timedelta(seconds=1)
    story.after(1)
    assert (story.word, story.status.attempts[0].reason) == ("Failed", "ExitCode")
    assert story.status.report == {"tasks": {"total": 1}}


@DISCONNECTED
@pytest.mark.parametrize("seconds", [0, 2, 4])
@pytest.mark.parametrize("how", ["ended", "starting again", "started again"])
def test_a_scheduler_that_ends_after_its_runner_was_the_cause(
    how: str, seconds: int, message: str
) -> None:
    story = running(backoffLimit=0)
    story.world.report = {"tasks": {"total": 1}}
    story.end_runner(1, message=message)
    story.after(seconds)
    if how == "ended":
        story.world.exit(story.scheduler(), 143)
    else:
        story.world.restart(story.scheduler(), 143, ready=how == "started again")
    story.settle()
    [attempt] = story.status.attempts
    assert (attempt.reason, attempt.exit_code) == ("SchedulerLost", 1)


@DISCONNECTED
def test_a_scheduler_that_is_shut_down_leaves_the_scripts_error_as_it_is(message: str) -> None:
    story = running(backoffLimit=0)
    story.world.report = {"tasks": {"total": 1}}
    story.end_runner(1, message=message)
    story.after(1)
    shut_down(story, "ended")
    assert story.status.attempts[0].reason == "ExitCode"


@DISCONNECTED
def test_a_scheduler_that_does_not_answer_is_lost_after_5_s(message: str) -> None:
    story = running(backoffLimit=0)
    story.world.report = None
    story.end_runner(1, message=message)
    story.after(5)
    [attempt] = story.status.attempts
    assert attempt.reason == "SchedulerLost"
    assert "the scheduler stopped responding" in attempt.message


def test_with_ignore_a_lost_connection_is_decided_at_once() -> None:
    story = running(backoffLimit=0, onSchedulerLoss="Ignore")
    story.end_runner(1, message=COMM_CLOSED)
    assert story.status.attempts[0].reason == "ExitCode"
