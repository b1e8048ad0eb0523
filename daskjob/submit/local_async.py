"""The jobs of this machine for programs with an event loop: ``AsyncJobClient.local()``.

Each call reads or writes a few files, in a thread. What waits for a job waits in the loop, so that
it can be cancelled at any moment.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType

from daskjob.core.errors import Timeout
from daskjob.core.explain import Explanation
from daskjob.core.manifests import Manifest
from daskjob.submit.jobs import Job, JobEvent, JobRef, LogChunk, Place, PodImage
from daskjob.submit.local import POLL_SECONDS, LocalJobs

#: How many pieces of a log are read ahead.
_READ_AHEAD = 16


class AsyncLocalJobs:
    """The jobs of one state directory, by default the user's; the twin of ``LocalJobs``."""

    def __init__(self, root: Path | None = None) -> None:
        self._jobs = LocalJobs(root)

    @property
    def place(self) -> Place:
        """The machine that this process runs on."""
        return self._jobs.place

    async def __aenter__(self) -> AsyncLocalJobs:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Do nothing: nothing is open between two calls."""

    async def submit(
        self, job: Manifest, *, token: str | None = None, owned: Sequence[Manifest] = ()
    ) -> JobRef:
        """Run a DaskJob in the background, exactly once for each token."""
        return await asyncio.to_thread(self._jobs.submit, job, token=token, owned=owned)

    async def create_owned(self, ref: JobRef, owned: Sequence[Manifest]) -> None:
        """Do nothing: a run has had all that it needs from its start."""
        self._jobs.create_owned(ref, owned)

    async def list(self, *, labels: str = "") -> tuple[Job, ...]:
        """Return all jobs, newest first; ``labels`` is such as ``team=blue,stage=test``."""
        return await asyncio.to_thread(self._jobs.list, labels=labels)

    async def names(self) -> tuple[str, ...]:
        """Return the names of all jobs without duplicates, newest first."""
        return await asyncio.to_thread(self._jobs.names)

    async def find(self, name: str = "", *, exact: bool = False) -> Job:
        """Return the newest job of this name, script name, or of all."""
        return await asyncio.to_thread(self._jobs.find, name, exact=exact)

    async def get(self, ref: JobRef) -> Job:
        """Return the current state of the job."""
        return await asyncio.to_thread(self._jobs.get, ref)

    async def wait(
        self,
        ref: JobRef,
        *,
        timeout_seconds: float | None = None,
        raise_on_failure: bool = True,
    ) -> Job:
        """Wait until the run and all its processes have ended; return the job.

        Raises
        ------
        Failed
            It ended without success, and ``raise_on_failure``.
        Timeout
            The job has not ended; it continues.
        """
        loop = asyncio.get_running_loop()
        give_up = None if timeout_seconds is None else loop.time() + timeout_seconds
        look = partial(self._jobs.wait, ref, timeout_seconds=0, raise_on_failure=raise_on_failure)
        while True:
            with suppress(Timeout):
                return await asyncio.to_thread(look)
            if give_up is not None and loop.time() >= give_up:
                raise Timeout(f"{ref.name} has not ended within {timeout_seconds} s")
            await asyncio.sleep(POLL_SECONDS)

    async def watch(self, ref: JobRef) -> AsyncGenerator[Job, None]:
        """Yield the current state of the job, then each change, up to its end."""
        before: Job | None = None
        while True:
            # Before the state: what was written until the end is read.
            ended = not await asyncio.to_thread(self._jobs.is_live, ref)
            job = await self.get(ref)
            if job != before:
                yield job
            if ended or job.status.finished:
                return
            before = job
            await asyncio.sleep(POLL_SECONDS)

    async def logs(
        self,
        ref: JobRef,
        *,
        attempt: int | None = None,
        pod: str = "",
        worker: str = "",
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
    ) -> AsyncGenerator[LogChunk, None]:
        """Return the log of one pod, or follow the runners of all attempts."""
        given = partial(
            self._jobs.logs, ref, attempt=attempt, pod=pod, worker=worker, follow=follow
        )
        async for chunk in _from_thread(partial(given, tail=tail, since=since)):
            yield chunk

    async def events(self, ref: JobRef) -> tuple[JobEvent, ...]:
        """Return the job's events, oldest first."""
        return await asyncio.to_thread(self._jobs.events, ref)

    async def why(self, ref: JobRef) -> Explanation:
        """Explain the job's state, with the end of its runner's log as evidence."""
        return await asyncio.to_thread(self._jobs.why, ref)

    async def report(self, ref: JobRef) -> Manifest | None:
        """Return the full report, or the short one of the status, with the run's history."""
        return await asyncio.to_thread(self._jobs.report, ref)

    async def images(self, ref: JobRef) -> tuple[PodImage, ...]:
        """Return nothing: processes of this machine have no images."""
        return await asyncio.to_thread(self._jobs.images, ref)

    async def result(self, ref: JobRef) -> object:
        """Return the result that the script wrote."""
        return await asyncio.to_thread(self._jobs.result, ref)

    async def cancel(self, ref: JobRef) -> bool:
        """Ask the process that runs the job to cancel it; return whether it was running."""
        return await asyncio.to_thread(self._jobs.cancel, ref)

    async def acknowledge(self, ref: JobRef) -> None:
        """Record that the job's end was taken."""
        await asyncio.to_thread(self._jobs.acknowledge, ref)

    async def delete(self, ref: JobRef, *, force: bool = False) -> None:
        """Remove the folder of a job that has ended, and its record."""
        await asyncio.to_thread(self._jobs.delete, ref, force=force)

    async def suspend(self, ref: JobRef) -> None:
        """Stop the job's processes until it is resumed; its next attempt is not counted."""
        await asyncio.to_thread(self._jobs.suspend, ref)

    async def resume(self, ref: JobRef) -> None:
        """Resume a suspended job, with a new attempt."""
        await asyncio.to_thread(self._jobs.resume, ref)

    async def retry(self, ref: JobRef) -> JobRef:
        """Run an ended job again in the background, as it was run; return the new job."""
        return await asyncio.to_thread(self._jobs.retry, ref)

    async def scale(self, ref: JobRef, workers: int) -> None:
        """Set the number of workers of the job's default group; data of those that go is moved."""
        await asyncio.to_thread(self._jobs.scale, ref, workers)


async def _from_thread(read: Callable[[], Iterator[LogChunk]]) -> AsyncIterator[LogChunk]:
    """Yield what an iterator of another thread yields; nothing waits for that thread's end.

    It is none of the loop's: a loop that is closed would wait for the end of a followed log.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Queue[LogChunk | BaseException | None] = asyncio.Queue()
    room, left = threading.Semaphore(_READ_AHEAD), threading.Event()

    def put(item: LogChunk | BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(found.put_nowait, item)

    def pump() -> None:
        try:
            for chunk in read():
                room.acquire()
                if left.is_set():
                    return
                put(chunk)
            put(None)
        except BaseException as error:
            put(error)

    threading.Thread(target=pump, name="daskjob-logs", daemon=True).start()
    try:
        while (item := await found.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            room.release()
            yield item
    finally:
        left.set()
        room.release()
