"""The states of a job up to its end, also after a long outage."""

from __future__ import annotations

import time
from collections.abc import Iterator

from daskjob.core.errors import DaskJobError
from daskjob.submit.jobs import Job, JobRef, Jobs

#: A job whose state cannot be watched is looked for again, for this long.
PATIENCE_SECONDS = 600.0
PAUSE_SECONDS = 2.0


def states(jobs: Jobs, ref: JobRef) -> Iterator[Job]:
    """Yield the states of a job up to its end.

    Raises
    ------
    NotFound
        The job was deleted before it ended.
    DaskJobError
        Its state cannot be read; the job continues.
    """
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            for job in jobs.watch(ref):
                give_up = time.monotonic() + PATIENCE_SECONDS
                yield job
            return
        except DaskJobError as error:
            if not error.retryable or time.monotonic() >= give_up:
                raise
        time.sleep(PAUSE_SECONDS)
