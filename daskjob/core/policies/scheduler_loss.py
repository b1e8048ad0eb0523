"""The loss of a scheduler that was ready: every task and result is lost with it.

A restarted scheduler does not know the job's tasks, so the client would wait indefinitely. The
identity with which an attempt started (pod uid and container id) reveals the restart. A scheduler
that was shut down on purpose is not lost: the script needs it no more, or starts anew.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from daskjob.core.diagnose import EXCEPTION_LINE, signal_name
from daskjob.core.job_view import AttemptEnd, JobView
from daskjob.core.pods import ContainerFacts, PodFacts
from daskjob.core.reasons import Reason
from daskjob.core.spec.policy import OnSchedulerLoss

#: What a client raises when its scheduler is gone; older versions of distributed give no reason.
#: asyncio's CancelledError is in the traceback of every connection that timed out.
_LOST_CONNECTION = re.compile(
    r"scheduler-connection-lost|lost the connection to the scheduler|CommClosedError"
    rf"|^({EXCEPTION_LINE})?concurrent\.futures\S*CancelledError\b",
    re.MULTILINE,
)
#: How long to wait for the end of a scheduler whose runner has lost its connection: it closes its
#: connections first, and its own end is seen later than the runner's.
END_SECONDS = 5
_SILENT = "stopped responding"


def scheduler_loss(view: JobView) -> AttemptEnd | None:
    """Return the end if the attempt's scheduler is lost; ``None`` if not, or if unsure."""
    if view.policy.on_scheduler_loss is OnSchedulerLoss.IGNORE:
        return None
    if not view.attempt_runs or view.scheduler_was_shut_down:
        return None
    what = _loss(view)
    if not what:
        return None
    runner = view.runner
    exit_code = runner.main.exit_code if runner and runner.main else None
    message = (
        f"the scheduler {what}: all of its tasks and results are lost. "
        "If it ran out of memory, raise its limit or send smaller graphs."
    )
    return AttemptEnd(Reason.SCHEDULER_LOST, message, exit_code)


def scheduler_end_due(view: JobView) -> datetime | None:
    """Return until when the scheduler may end, which would explain the runner's failure.

    ``None``: there is nothing to wait for. How it ends decides whether the scheduler was lost or
    was shut down.
    """
    if view.policy.on_scheduler_loss is OnSchedulerLoss.IGNORE or view.scheduler_was_shut_down:
        return None
    main = _disconnected(view)
    if main is None or main.finished_at is None or _loss(view) not in ("", _SILENT):
        return None
    due = main.finished_at + timedelta(seconds=END_SECONDS)
    return due if view.now < due else None


def _loss(view: JobView) -> str:
    """Return what happened to the scheduler if it is lost; empty: nothing so far."""
    known = view.status.scheduler_identity
    what = _what_happened(view.scheduler, known) if known else _unseen(view)
    return what or _by_the_runner(view)


def _disconnected(view: JobView) -> ContainerFacts | None:
    """Return the runner's main container if it failed since it lost its connection."""
    runner = view.runner
    main = runner.main if runner and runner.main_ended else None
    if main is None or not main.exit_code or not _LOST_CONNECTION.search(main.message):
        return None
    return main


def _unseen(view: JobView) -> str:
    """Return what happened to a scheduler that was lost before the job's status had its identity.

    The identity is written some seconds after the scheduler is ready; its cluster reports it first.
    """
    cluster = view.cluster
    lost = cluster is not None and cluster.scheduler_lost and not view.job.cluster_ref
    return "pod is gone" if lost and view.scheduler is None else ""


def _by_the_runner(view: JobView) -> str:
    """Return what happened to a scheduler if the runner lost it before its pod shows that.

    The runner failed since it lost its connection, and the scheduler has crashed, or no longer
    answers.
    """
    main, scheduler = _disconnected(view), view.scheduler
    if main is None:
        return ""
    if scheduler is None or scheduler.main is None:
        return "pod is gone"
    began, crashed = main.started_at, scheduler.main
    if crashed.terminated and crashed.exit_code:
        return _what_happened(scheduler, "")
    since = crashed.started_at
    restarted = crashed.restarts and (began is None or since is None or since >= began)
    if restarted and crashed.last_exit_code:
        return _ended_with(crashed.last_exit_code, crashed.last_reason)
    report = view.observed.report
    return _SILENT if report is not None and report.report is None else ""


def _what_happened(scheduler: PodFacts | None, known: str) -> str:
    if scheduler is None:
        return "pod is gone"
    main = scheduler.main
    if main is not None and (main.terminated or (not main.running and main.restarts)):
        if main.terminated:
            return _ended_with(main.exit_code, main.reason)
        return _ended_with(main.last_exit_code, main.last_reason)
    if scheduler.deleting:
        return "pod was deleted"
    if scheduler.identity == known:
        return ""
    if main is not None and f"{scheduler.ref.uid}/{main.last_container_id}" == known:
        return _ended_with(main.last_exit_code, main.last_reason)
    return "was restarted"


def _ended_with(code: int | None, why: str) -> str:
    signal = signal_name(code or 0)
    kind = f" ({why})" if why and why != "Error" and not signal else signal
    return f"ended with exit code {code}{kind}"
