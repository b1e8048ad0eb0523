"""A stall: the runner is running, but no task of its cluster makes progress.

A runner may be busy outside Dask, so by default a stall is only reported; it ends the attempt if
the spec says so. On this machine a line in the runner's log counts as progress too.

The scheduler's answer is of a moment in the past, and tasks may have moved since: it is judged by
the time at which it was given (design §4.10).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from daskjob.core.job_view import AttemptEnd, JobView
from daskjob.core.reasons import Reason
from daskjob.core.spec.policy import StallAction

#: How soon to check again for an answer that is new enough.
LOOK_SECONDS = 2


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
    moves, known_at = [runner.main.started_at, view.observed.last_log_at], view.now
    dask = view.observed.dask
    if dask is not None:
        moves.append(dask.last_transition)
        known_at = dask.at or known_at
    elif view.observed.last_log_at is None:
        # The scheduler does not respond, so there may be progress.
        return None
    since = max((moment for moment in moves if moment is not None), default=None)
    if since is None:
        return None
    due = since + timedelta(seconds=limit)
    if min(view.now, known_at) < due:
        look = view.now + timedelta(seconds=LOOK_SECONDS)
        return Stall(stalled=False, since=since, due=due if view.now < due else look)
    tasks = f" ({view.unfinished_tasks})" if view.unfinished_tasks else ""
    message = (
        f"no task of the cluster made progress for {limit} s while the runner was running{tasks}. "
        "Check the runner's log, and look for tasks that no worker can run: daskjob why."
    )
    fails = view.policy.stall_action is StallAction.FAIL
    end = AttemptEnd(Reason.STALLED, message) if fails else None
    return Stall(stalled=True, since=since, due=due, end=end)
