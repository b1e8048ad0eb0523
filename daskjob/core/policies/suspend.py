"""Suspension: a suspended job has no live pods.

Only an explicit ``false`` resumes it: an update by a client that does not know the field must not
start a queued job (design §2.3).
"""

from __future__ import annotations

from daskjob.core.job_view import AttemptEnd, JobView
from daskjob.core.reasons import Reason


def wants_suspension(view: JobView) -> bool:
    """Return whether the job should be suspended."""
    if view.job.suspend is None:
        return view.status.suspended
    return view.job.suspend


def interrupted(view: JobView) -> AttemptEnd | None:
    """Return the end of the current attempt, uncounted, if the job should be suspended."""
    if not view.attempt_runs or not wants_suspension(view):
        return None
    return AttemptEnd(Reason.SUSPENDED, "the job was suspended; the attempt is not counted.")
