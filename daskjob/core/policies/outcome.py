"""The outcome of an attempt, from its runner: success has one source (design §4.1).

Success is an observed exit code 0 of the main container, before anything stopped the pod.
Everything else is a failure with a reason.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta

from daskjob.core.dask import Loss, losses_of
from daskjob.core.diagnose import container_end, ended_by, not_prepared
from daskjob.core.job_view import AttemptEnd, JobView
from daskjob.core.killed_workers import killed_workers, may_be_explained
from daskjob.core.manifests import mapping
from daskjob.core.pods import ContainerFacts, PodFacts
from daskjob.core.reasons import Reason

#: How long a deleted runner may take to terminate: far above any grace period.
GONE_SECONDS = 600
#: How long to wait for the end of a worker whose loss made the runner fail: the kubelet reports the
#: ends of two pods within seconds, in either order.
WORKER_END_SECONDS = 5
#: What container runtimes, and this machine, report of a command that cannot be executed.
_NO_PROGRAM = (
    'exec: "',
    "executable file not found",
    "exec format error",
    "no such program",
    "no such file or directory",
    "is a directory",
    "is not executable",
    "names does not exist",
    "neither a program",
    "neither a command",
)
#: The last words of a Python whose script does not exist.
_NO_SCRIPT = re.compile(r"python[\w.]*: can't open file .*\[errno 2\][^\n]*\Z")


def outcome(view: JobView) -> AttemptEnd | None:
    """Return how the current attempt's runner ended; ``None`` while it may still run."""
    runner = view.runner
    if runner is None:
        return _lost(view) if view.runner_was_seen else None
    if runner.main is not None and runner.main_ended:
        return _ended(view, runner, runner.main)
    if runner.ended:
        return _never_ran(runner)
    overdue = overdue_at(view)
    if overdue is not None and view.now >= overdue:
        message = (
            f"pod {runner.ref.name} is still terminating after {GONE_SECONDS} s; its node is not "
            "responding. Check the node: kubectl describe node."
        )
        return AttemptEnd(Reason.NODE_LOST, message)
    return None


def worker_end_due(view: JobView) -> datetime | None:
    """Return until when a worker's pod may show why its loss made the runner fail.

    ``None``: there is nothing to wait for.
    """
    runner = view.runner
    main = runner.main if runner and runner.main_ended and not ended_by(runner) else None
    if runner is None or main is None or not main.exit_code or main.finished_at is None:
        return None
    detail = container_end(runner, main, view.words).detail
    if not may_be_explained(detail, view.workers, _losses(view)):
        return None
    due = main.finished_at + timedelta(seconds=WORKER_END_SECONDS)
    return due if view.now < due else None


def overdue_at(view: JobView) -> datetime | None:
    """Return when a runner that does not terminate is given up, and its node counts as lost."""
    runner = view.runner
    if runner is None or runner.deletion_asked_at is None:
        return None
    return runner.deletion_asked_at + timedelta(seconds=GONE_SECONDS)


def _ended(view: JobView, runner: PodFacts, main: ContainerFacts) -> AttemptEnd:
    stopped = ended_by(runner)
    if stopped and _ended_after_the_stop(runner, main):
        message, tasks = stopped.message, view.unfinished_tasks
        if tasks and stopped.reason is Reason.ATTEMPT_DEADLINE_EXCEEDED:
            message = f"{message} At the last report, {tasks}."
        return AttemptEnd(stopped.reason, message, main.exit_code)
    if main.exit_code == 0:
        return AttemptEnd(None, _success(view, runner), 0)
    diagnosis = container_end(runner, main, view.words)
    killed = killed_workers(diagnosis.detail, view.workers, _losses(view), view.words)
    if killed is not None:
        diagnosis = replace(diagnosis, detail=killed.detail, next_step=killed.next_step)
    final = _never_starts(main)
    return AttemptEnd(diagnosis.reason, diagnosis.message, main.exit_code, final=final)


def _never_starts(container: ContainerFacts) -> bool:
    """Return whether the command does not exist, or cannot be executed: a retry is of no use.

    Other failures of a node to start a container may pass.
    """
    message = container.message.lower()
    if container.reason in ("StartError", "ContainerCannotRun"):
        return "mount" not in message and any(text in message for text in _NO_PROGRAM)
    return container.exit_code == 2 and _NO_SCRIPT.search(message) is not None


def _losses(view: JobView) -> tuple[Loss, ...]:
    """Return the workers that were lost, as the scheduler reported them last."""
    report = view.observed.report.report if view.observed.report else None
    reported = losses_of(mapping((report or {}).get("workers")).get("losses"))
    dask = view.observed.dask
    return reported or (dask.activity.losses if dask else ())


def _success(view: JobView, runner: PodFacts) -> str:
    return f"{view.words.runner} exited with code 0{view.words.of_pod(runner.ref.name)}."


def _ended_after_the_stop(runner: PodFacts, main: ContainerFacts) -> bool:
    """Return whether the container ended after the stop, so that its exit code does not count.

    A script that handles SIGTERM exits with 0 when it is stopped half-way. If a time is unknown,
    the stop counts: a false failure is retried, a false success is not.
    """
    if runner.stopped_at is None or main.finished_at is None:
        return True
    return main.finished_at >= runner.stopped_at


def _never_ran(runner: PodFacts) -> AttemptEnd:
    stopped = ended_by(runner)
    if stopped:
        return AttemptEnd(stopped.reason, stopped.message)
    if (problem := not_prepared(runner)) is not None:
        code, final = problem.exit_code, problem.final
        return AttemptEnd(problem.reason, problem.message, code, final, problem.may_pass)
    for container in runner.init_containers:
        if container.terminated and container.exit_code:
            diagnosis = container_end(runner, container)
            code, final = container.exit_code, _never_starts(container)
            return AttemptEnd(diagnosis.reason, diagnosis.message, code, final=final)
    detail = ": ".join(part for part in (runner.reason, runner.message) if part)
    detail = f" ({detail})" if detail else ""
    message = f"pod {runner.ref.name} ended before its main container ran{detail}."
    return AttemptEnd(Reason.EVICTED if runner.reason else Reason.RUNNER_LOST, message)


def _lost(view: JobView) -> AttemptEnd:
    name = view.status.job_runner_pod_name
    message = (
        f"pod {name} is gone without an exit code: it was deleted, or its node was lost. "
        "Find out who deletes pods; to stop a job, use daskjob cancel."
    )
    return AttemptEnd(Reason.RUNNER_LOST, message)
