"""Follows a job to its end: its log, its progress, its verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Protocol, cast

from daskjob.core.errors import DaskJobError, Failed, InfrastructureFailure, NotFound, Timeout
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.core.names import Kind
from daskjob.integrations.prefect.log_lines import LogLines
from daskjob.integrations.prefect.places import Jobs
from daskjob.submit.client.waiting import not_picked_up
from daskjob.submit.jobs import Job, JobRef
from daskjob.submit.outcome import failure_of, is_image_failure

#: How long after the end of a job the rest of its log is waited for.
LOG_SECONDS = 15.0
#: How often to look whether to stop.
STOP_SECONDS = 0.5


class Shown(Protocol):
    """What shows the state of a job."""

    async def show(self, job: Job) -> None:
        """Show a state."""


class ImageFailure(InfrastructureFailure):
    """An image does not exist, or may not be pulled: the same image cannot be pulled later."""

    retryable = False


class NotPickedUp(Timeout):
    """No operator has picked up the job. Nothing has started, and it was deleted."""


@dataclass(frozen=True)
class Followed:
    """How to follow a job."""

    artifacts: Shown
    #: Gets each line of the log; ``None``: the log is not read.
    print_line: Callable[[str], object] | None = None
    #: Whether to stop, which nothing else reports in the thread of a task.
    stop: Callable[[], bool] = field(default=lambda: False)
    #: How long an operator may take to write the first word on the job.
    pickup_seconds: float = 120.0


async def follow(jobs: Jobs, ref: JobRef, how: Followed) -> Job:
    """Return the job once it has ended, or raise how it failed.

    Raises
    ------
    Failed
        The job ended without success; ``ImageFailure``: it never will, and was cancelled.
    NotPickedUp
        There is no operator; the job was deleted.
    CancelledError
        The flow run ends, as ``stop`` returned.
    """
    log = asyncio.create_task(_copy_log(jobs, ref, how)) if how.print_line else None
    end = asyncio.create_task(_last_state(jobs, ref, how))
    try:
        while not (await asyncio.wait([end], timeout=STOP_SECONDS))[0]:
            if how.stop():
                raise asyncio.CancelledError("the flow run ends")
        job = end.result()
        if log is not None:
            await asyncio.wait([log], timeout=LOG_SECONDS)
        return await _verdict(jobs, job)
    finally:
        await _cancelled(end, *filter(None, [log]))


async def _cancelled(*tasks: asyncio.Task[object]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _last_state(jobs: Jobs, ref: JobRef, how: Followed) -> Job:
    states = jobs.states(ref)
    job: Job | None = None
    async with aclosing(states):
        try:
            async with asyncio.timeout(how.pickup_seconds) as limit:
                async for job in states:
                    await how.artifacts.show(job)
                    if job.status.job_status:
                        limit.reschedule(None)
                    if not job.status.finished and is_image_failure(job.status):
                        raise await _never_started(jobs, job)
        except TimeoutError as error:
            manifest = job.manifest if job else {}
            raise await _given_up(jobs, ref, manifest) from error
    return cast(Job, job)


async def _verdict(jobs: Jobs, job: Job) -> Job:
    try:
        return await jobs.end(job.ref)
    except Failed as error:
        if is_image_failure(job.status):
            raise _image_failure(error) from None
        raise


async def _never_started(jobs: Jobs, job: Job) -> ImageFailure:
    """Cancel the job, which would otherwise wait for its image."""
    with suppress(NotFound):
        await jobs.cancel(job.ref)
    return _image_failure(failure_of(job.status))


def _image_failure(error: Failed) -> ImageFailure:
    return ImageFailure(error.reason, error.message, error.exit_code, error.log_tail)


async def _given_up(jobs: Jobs, ref: JobRef, manifest: Manifest) -> NotPickedUp:
    """Delete the job, which would start behind everyone's back once there is an operator."""
    await jobs.delete(ref)
    about = ObjectRef(Kind.JOB, ref.namespace, ref.name, ref.uid)
    return NotPickedUp(f"{not_picked_up(about, manifest)}; the job was deleted")


async def _copy_log(jobs: Jobs, ref: JobRef, how: Followed) -> None:
    assert how.print_line is not None
    lines = LogLines(how.print_line)
    # A log that cannot be read fails no job.
    with suppress(DaskJobError):
        async with aclosing(jobs.log(ref)) as chunks:
            async for chunk in chunks:
                lines.add(chunk)
    lines.end()
