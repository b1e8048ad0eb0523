"""A stall: the runner is running, but no task of its cluster makes progress.

A runner may be busy outside Dask, so by default a stall is only reported; it ends the attempt if
the spec says so. On this machine a line in the runner's log counts as progress too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from daskjob.core.job_view import AttemptEnd, JobView
from daskjob.core.reasons import Reason
from daskjob.core.spec.policy import StallAction


@dataclass(frozen=True, slots=True)
class Stall:
    """Whether the attempt is stalled, since when it made no progress, and when to check again."""

    stalled: bool
    since: datetime
    due: datetime
    end: AttemptEnd | None = None


def stall(view: JobView) -> Stall | None:
    """Check the current attempt; ``None`` if unknown, or if no deadline is set."""
    limit = view.policy.stall_deadline_seconds
    runner = view.runner
    if limit is None or runner is None or runner.main is None or not runner.main.running:
        return None
    if view.scheduler_was_shut_down:
        # The script may not need the cluster any more; a restarted scheduler has none of its tasks.
        return None
    if view.job.cluster_ref:
        # Its scheduler also has the tasks of other jobs and cannot distinguish them.
        return None
    moves = [runner.main.started_at, view.observed.last_log_at]
    if view.observed.dask is not None:
        moves.append(view.observed.dask.last_transition)
    elif view.observed.last_log_at is None:
        # The scheduler does not respond, so there may be progress.
        return None
    since = max((moment for moment in moves if moment is not None), default=None)
    if since is None:
        return None
    due = since + timedelta(seconds=limit)
    if view.now < due:
        return Stall(stalled=False, since=since, due=due)
    message = (
        f"no task of the cluster made progress for {limit} s while the runner was running. "
        "Check the runner's log, and look for tasks that no worker can run: daskjob why."
    )
    fails = view.policy.stall_action is StallAction.FAIL
    end = AttemptEnd(Reason.STALLED, message) if fails else None
    return Stall(stalled=True, since=since, due=due, end=end)
