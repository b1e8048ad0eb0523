"""Suspension: no live pods while it lasts. No I/O here.

Only an explicit ``false`` resumes: an Update by a client that does not know the field must not
start a queued job (design §2.3).
"""

from __future__ import annotations

from daskjob.core.job_view import AttemptEnd, JobView
from daskjob.core.reasons import Reason


def wants_suspension(view: JobView) -> bool:
    """Say whether the job is to hold no pods."""
    if view.job.suspend is None:
        return view.status.suspended
    return view.job.suspend


def interrupted(view: JobView) -> AttemptEnd | None:
    """Say whether the current attempt is to be torn down, uncounted, for a suspension."""
    if not view.attempt_runs or not wants_suspension(view):
        return None
    return AttemptEnd(Reason.SUSPENDED, "the job was suspended; the attempt is not counted.")
