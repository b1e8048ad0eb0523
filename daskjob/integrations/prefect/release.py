"""What becomes of jobs if the flow run that has submitted them ends before they do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Literal

from daskjob.core.errors import DaskJobError, NotFound
from daskjob.integrations.prefect.places import Jobs, Place
from daskjob.submit.jobs import JobRef

OnCancel = Literal["cancel", "delete", "keep"]

#: Prefect's runner kills a flow run some 30 s after the signal.
SECONDS = 15.0
#: How long after an interrupted request the job that it creates may appear.
APPEAR_SECONDS = 1.0


async def release(
    place: Place,
    action: OnCancel,
    *,
    ref: JobRef | None = None,
    labels: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """Cancel or delete a job, or those with these labels; return the names of the jobs."""
    if action == "keep":
        return ()
    async with asyncio.timeout(SECONDS), place() as jobs:
        if ref is not None:
            await _end(jobs, ref, action)
            return (ref.name,)
        found = await active(jobs, labels or {})
        for one in found:
            await _end(jobs, one, action)
        return tuple(one.name for one in found)


async def release_started(place: Place, action: OnCancel, labels: Mapping[str, str]) -> None:
    """Release the job that an interrupted submission may have created, or creates just now."""
    if action == "keep" or await release(place, action, labels=labels):
        return
    await asyncio.sleep(APPEAR_SECONDS)
    await release(place, action, labels=labels)


async def active(jobs: Jobs, labels: Mapping[str, str]) -> list[JobRef]:
    """Return the jobs with these labels that have not ended."""
    found = await jobs.list(dict(labels))
    return [job.ref for job in found if not job.status.finished]


async def _end(jobs: Jobs, ref: JobRef, action: OnCancel) -> None:
    with suppress(NotFound):
        if action == "delete":
            await jobs.delete(ref)
        else:
            await jobs.cancel(ref)


async def tried(place: Place, action: OnCancel, labels: Mapping[str, str]) -> str:
    """Release jobs; return what went wrong, for a log, in place of raising it."""
    try:
        await release(place, action, labels=labels)
    except (DaskJobError, TimeoutError) as error:
        return str(error) or type(error).__name__
    return ""
