"""Cancellation: stop now. No I/O here. It latches, because its end is terminal."""

from __future__ import annotations

from daskjob.core.job_view import AttemptEnd, JobView
from daskjob.core.reasons import Reason


def cancelled(view: JobView) -> AttemptEnd | None:
    """Say whether somebody set ``spec.cancel``."""
    if not view.job.cancel:
        return None
    return AttemptEnd(Reason.CANCELLED, "the job was cancelled.")
