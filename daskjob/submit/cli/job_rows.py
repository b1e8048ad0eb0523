"""Jobs as the lines of a table."""

from __future__ import annotations

from datetime import UTC, datetime

from daskjob.core.quantity import duration
from daskjob.core.status import JobStatus
from daskjob.submit.cli.output import age
from daskjob.submit.jobs import Job

#: How many jobs a table has unless ``--limit`` says otherwise.
LIMIT = 50

HEADER = ("NAME", "STATUS", "REASON", "PROGRESS", "WORKERS", "ATTEMPTS", "AGE", "TOOK")
#: Columns that a narrow screen lacks, those that matter least first.
LEAST = ("ATTEMPTS", "WORKERS", "TOOK", "REASON", "PROGRESS", "AGE")


def row_of(job: Job) -> tuple[str, ...]:
    """Return the line of a job in a table with this header."""
    status = job.status
    return (
        job.name,
        status.phase or "Pending",
        status.reason,
        progress_of(status),
        job.workers,
        str(status.attempts_begun),
        age(job.manifest),
        took(status),
    )


def progress_of(status: JobStatus) -> str:
    """Return the tasks that are done, of all; empty before the first one."""
    return str(status.progress) if status.progress and status.progress.total else ""


def took(status: JobStatus) -> str:
    """Return how long a job has run, or ran; empty before its start."""
    if status.start_time is None:
        return ""
    return duration((status.end_time or datetime.now(UTC)) - status.start_time)
