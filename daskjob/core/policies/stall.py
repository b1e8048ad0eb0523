"""A stall: the runner runs and no task of its cluster moves. No I/O here.

A runner may be busy outside Dask, so a stall is reported by default and ends the attempt only
where the spec says so. On this machine a line in the runner's log counts as movement too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from daskjob.core.job_view import AttemptEnd, JobView
from daskjob.core.reasons import Reason
from daskjob.core.spec.policy import StallAction


@dataclass(frozen=True, slots=True)
class Stall:
    """Whether the attempt stands still, since when, and when that is judged again."""

    stalled: bool
    since: datetime
    due: datetime
    end: AttemptEnd | None = None


def stall(view: JobView) -> Stall | None:
    """Judge the current attempt; ``None`` where nothing can be said or nobody asked."""
    limit = view.policy.stall_deadline_seconds
    runner = view.runner
    if limit is None or runner is None or runner.main is None or not runner.main.running:
        return None
    if view.job.cluster_ref:
        # Its scheduler has the tasks of other jobs too, and does not tell whose they are.
        return None
    moves = [runner.main.started_at, view.observed.last_log_at]
    if view.observed.dask is not None:
        moves.append(view.observed.dask.last_transition)
    elif view.observed.last_log_at is None:
        # The scheduler cannot be asked: no movement seen is not no movement.
        return None
    since = max((moment for moment in moves if moment is not None), default=None)
    if since is None:
        return None
    due = since + timedelta(seconds=limit)
    if view.now < due:
        return Stall(stalled=False, since=since, due=due)
    message = (
        f"no task of the cluster moved for {limit} s while the runner ran. "
        "Look at the runner's log, and at tasks that no worker can run: daskjob why."
    )
    fails = view.policy.stall_action is StallAction.FAIL
    end = AttemptEnd(Reason.STALLED, message) if fails else None
    return Stall(stalled=True, since=since, due=due, end=end)
