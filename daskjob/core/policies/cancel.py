"""Cancellation: stop now. It cannot be undone, because the end of a job is final."""

from __future__ import annotations

from daskjob.core.job_view import AttemptEnd, JobView
from daskjob.core.names import ANNOTATION_CANCELLED_BY
from daskjob.core.reasons import Reason


def cancelled(view: JobView) -> AttemptEnd | None:
    """Return the end of an attempt if ``spec.cancel`` is set."""
    if not view.job.cancel:
        return None
    by = view.job.meta.annotations.get(ANNOTATION_CANCELLED_BY, "")
    return AttemptEnd(Reason.CANCELLED, cancel_message(by))


def cancel_message(by: str) -> str:
    """Return the message of a job that was cancelled; ``by`` is who did it, if known."""
    return f"the job was cancelled by {by}." if by else "the job was cancelled."
