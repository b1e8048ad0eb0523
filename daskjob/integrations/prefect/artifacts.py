"""What a run's page shows of its job: a link to the dashboard, and how many tasks are done.

A server that does not take an artifact never fails a job.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from daskjob.core.status import JobStatus
from daskjob.submit.jobs import Job
from daskjob.submit.submission_names import label_of

#: Progress is written at most so often, and only if it changed by so much.
SECONDS_BETWEEN = 5.0
PERCENT_BETWEEN = 1.0

logger = logging.getLogger("daskjob")


@dataclass
class Artifacts:
    """The artifacts of one job."""

    progress: bool = True
    dashboard: bool = True
    clock: Callable[[], float] = time.monotonic
    _linked: str = ""
    _id: Any = None
    _shown: float = -1.0
    _shown_at: float = field(default=-SECONDS_BETWEEN)

    async def show(self, job: Job) -> None:
        """Bring the artifacts up to date with the state of a job."""
        status = job.status
        if self.dashboard and status.dashboard_url and status.dashboard_url != self._linked:
            self._linked = status.dashboard_url
            await _attempt(lambda: _link(job))
        percent = percent_done(status)
        if self.progress and percent is not None and self._is_due(percent, status):
            self._shown, self._shown_at = percent, self.clock()
            await _attempt(lambda: self._write(job, percent))

    def _is_due(self, percent: float, status: JobStatus) -> bool:
        changed = abs(percent - self._shown)
        if status.finished:
            return changed > 0
        waited = self.clock() - self._shown_at
        return changed >= PERCENT_BETWEEN and waited >= SECONDS_BETWEEN

    async def _write(self, job: Job, percent: float) -> None:
        from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

        text = progress_text(job)
        if self._id is None:
            key = artifact_key(job, "progress")
            self._id = await acreate_progress_artifact(percent, key=key, description=text)
        else:
            await aupdate_progress_artifact(self._id, percent, description=text)


def percent_done(status: JobStatus) -> float | None:
    """Return how much of the known tasks is done; ``None``: there are none."""
    if status.succeeded:
        return 100.0
    found = status.progress
    if found is None or not found.total:
        return None
    return min(100.0, 100.0 * found.done / found.total)


def progress_text(job: Job) -> str:
    """Return the counts of tasks and workers, as one line."""
    found = job.status.progress
    text = f"{job.name}: {job.status.phase}"
    if found is not None and found.total:
        text += f", {found.done} of {found.total} tasks done"
        text += f", {found.erred} erred" if found.erred else ""
    return f"{text}, {job.workers} workers" if job.workers else text


def artifact_key(job: Job, kind: str) -> str:
    """Return the key of an artifact: the same for all runs of a job, so that they are versions."""
    label = re.sub(r"-g\d+$", "", job.name)
    label = re.sub(r"-[0-9a-f]{10}$", "", label) if label != job.name else label_of(label)
    label = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
    return f"{label or 'job'}-{kind}"


async def _link(job: Job) -> None:
    from prefect.artifacts import acreate_link_artifact

    await acreate_link_artifact(
        job.status.dashboard_url,
        link_text=f"Dask dashboard of {job.name}",
        key=artifact_key(job, "dashboard"),
        description=(
            "The dashboard while the job runs. From outside of the cluster: "
            f"`daskjob dashboard {job.name}`"
        ),
    )


async def _attempt(write: Callable[[], Awaitable[None]]) -> None:
    try:
        await write()
    except Exception as error:
        logger.warning("an artifact was not written: %s", error)
