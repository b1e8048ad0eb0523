"""When a finished job is deleted: counted from its end, not from its creation."""

from __future__ import annotations

from datetime import datetime, timedelta

from daskjob.core.job_view import JobView


def expires_at(view: JobView) -> datetime | None:
    """Return when the job is deleted; ``None`` if never, or not finished."""
    limit, end = view.policy.ttl_seconds_after_finished, view.status.end_time
    if limit is None or end is None or not view.status.finished:
        return None
    return end + timedelta(seconds=limit)
