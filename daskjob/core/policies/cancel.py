"""Cancellation: stop now. It cannot be undone, because the end of a job is final."""

from __future__ import annotations

from daskjob.core.job_view import AttemptEnd, JobView
from daskjob.core.reasons import Reason


def cancelled(view: JobView) -> AttemptEnd | None:
    """Return the end of an attempt if ``spec.cancel`` is set."""
    if not view.job.cancel:
        return None
    return AttemptEnd(Reason.CANCELLED, "the job was cancelled.")
