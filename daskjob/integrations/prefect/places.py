"""Where the jobs of a block are: a cluster, or this machine. The same coroutines for both."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from functools import partial
from typing import Any, Protocol

from daskjob.core.errors import NotFound
from daskjob.core.manifests import Manifest
from daskjob.submit.generations import (
    Generation,
    Identity,
    start_generation,
    start_generation_async,
)
from daskjob.submit.jobs import Job, JobRef, LogChunk
from daskjob.submit.submission_names import new_token

#: How often a job of this machine is looked at.
POLL_SECONDS = 0.5


class Jobs(Protocol):
    """Jobs, for coroutines."""

    async def start(
        self, manifest: Manifest, identity: Identity, *, owned: Sequence[Manifest] = ()
    ) -> Generation:
        """Submit the generation of an identity that is due, or take the one that is there.

        ``owned`` are objects that it needs, named after the manifest.
        """

    async def submit(self, manifest: Manifest) -> Job:
        """Submit a job that has no identity."""

    async def get(self, ref: JobRef) -> Job:
        """Return the current state of the job."""

    async def find(self, name: str, namespace: str) -> Job:
        """Return the job of this name."""

    async def list(self, labels: dict[str, str]) -> tuple[Job, ...]:
        """Return the jobs with these labels."""

    def states(self, ref: JobRef) -> AsyncGenerator[Job, None]:
        """Yield the current state of the job, then each change, up to its end."""

    def log(self, ref: JobRef) -> AsyncGenerator[LogChunk, None]:
        """Yield the log of the script, from attempt to attempt, up to the end of the job."""

    async def end(self, ref: JobRef) -> Job:
        """Return the job, which has ended; raise ``Failed`` unless it succeeded."""

    async def cancel(self, ref: JobRef) -> None:
        """Cancel the job."""

    async def delete(self, ref: JobRef) -> None:
        """Delete the job, even a running one."""


#: Opens the jobs of a place, for one event loop.
Place = Callable[[], AbstractAsyncContextManager[Jobs]]


class ClusterJobs:
    """The jobs of a namespace of a cluster."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def start(
        self, manifest: Manifest, identity: Identity, *, owned: Sequence[Manifest] = ()
    ) -> Generation:
        """Submit the generation of an identity that is due, or take the one that is there."""
        return await start_generation_async(self._client, manifest, identity, owned=owned)

    async def submit(self, manifest: Manifest) -> Job:
        """Submit a job that has no identity."""
        found: Job = await self._client.get(await self._client.submit(manifest, token=new_token()))
        return found

    async def get(self, ref: JobRef) -> Job:
        """Return the current state of the job."""
        found: Job = await self._client.get(ref)
        return found

    async def find(self, name: str, namespace: str) -> Job:
        """Return the job of this name."""
        return await self.get(JobRef(name, namespace, ""))

    async def list(self, labels: dict[str, str]) -> tuple[Job, ...]:
        """Return the jobs with these labels."""
        found: tuple[Job, ...] = await self._client.list(labels=_selector(labels))
        return found

    async def states(self, ref: JobRef) -> AsyncGenerator[Job, None]:
        """Yield the current state of the job, then each change, up to its end."""
        async with aclosing(self._client.watch(ref)) as states:
            async for job in states:
                yield job

    async def log(self, ref: JobRef) -> AsyncGenerator[LogChunk, None]:
        """Yield the log of the script, from attempt to attempt, up to the end of the job."""
        async with aclosing(self._client.logs(ref, follow=True)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def end(self, ref: JobRef) -> Job:
        """Return the job, which has ended; raise ``Failed`` unless it succeeded."""
        found: Job = await self._client.wait(ref)
        return found

    async def cancel(self, ref: JobRef) -> None:
        """Cancel the job."""
        await self._client.cancel(ref)

    async def delete(self, ref: JobRef) -> None:
        """Delete the job, even a running one."""
        await self._client.delete(ref, force=True)


class MachineJobs:
    """The jobs of this machine; their calls block, so each runs in a thread."""

    def __init__(self) -> None:
        from daskjob.submit.local import LocalJobs

        self._jobs = LocalJobs()

    async def start(
        self, manifest: Manifest, identity: Identity, *, owned: Sequence[Manifest] = ()
    ) -> Generation:
        """Submit the generation of an identity that is due, or take the one that is there."""
        start = partial(start_generation, self._jobs, manifest, identity, owned=owned)
        return await asyncio.to_thread(start)

    async def submit(self, manifest: Manifest) -> Job:
        """Submit a job that has no identity."""
        ref = await asyncio.to_thread(self._jobs.submit, manifest, token=new_token())
        return await self.get(ref)

    async def get(self, ref: JobRef) -> Job:
        """Return the current state of the job."""
        return await asyncio.to_thread(self._jobs.get, ref)

    async def find(self, name: str, namespace: str) -> Job:
        """Return the job of this name."""
        del namespace
        return await asyncio.to_thread(self._jobs.find, name, exact=True)

    async def list(self, labels: dict[str, str]) -> tuple[Job, ...]:
        """Return the jobs with these labels."""
        return await asyncio.to_thread(self._jobs.list, labels=_selector(labels))

    async def states(self, ref: JobRef) -> AsyncGenerator[Job, None]:
        """Yield the current state of the job, then each change, up to its end."""
        before: Job | None = None
        while True:
            job = await self.get(ref)
            if job != before:
                yield job
            if job.status.finished:
                return
            before = job
            await asyncio.sleep(POLL_SECONDS)

    async def log(self, ref: JobRef) -> AsyncGenerator[LogChunk, None]:
        """Yield the log of the script, from attempt to attempt, up to the end of the job."""
        lines: asyncio.Queue[LogChunk | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        # A daemon: a job that goes on must not keep the process from its end.
        reader = threading.Thread(target=self._read_log, args=(ref, loop, lines), daemon=True)
        reader.start()
        while (chunk := await lines.get()) is not None:
            yield chunk

    def _read_log(
        self, ref: JobRef, loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[LogChunk | None]
    ) -> None:
        def put(item: LogChunk | None) -> None:
            loop.call_soon_threadsafe(lines.put_nowait, item)

        try:
            for chunk in self._jobs.logs(ref, follow=True):
                put(chunk)
            put(None)
        except (NotFound, RuntimeError):
            # The job was deleted, or the loop is closed: then there is no reader any more.
            if not loop.is_closed():
                put(None)

    async def end(self, ref: JobRef) -> Job:
        """Return the job, which has ended; raise ``Failed`` unless it succeeded."""
        return await asyncio.to_thread(self._jobs.wait, ref)

    async def cancel(self, ref: JobRef) -> None:
        """Cancel the job."""
        await asyncio.to_thread(self._jobs.cancel, ref)

    async def delete(self, ref: JobRef) -> None:
        """Delete the job, even a running one."""
        await asyncio.to_thread(self._jobs.delete, ref, force=True)


def _selector(labels: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


@asynccontextmanager
async def this_machine() -> AsyncIterator[Jobs]:
    """Open the jobs of this machine."""
    yield MachineJobs()


def of_cluster(
    namespace: str, credentials: Any, *, kubeconfig: str | None = None, context: str | None = None
) -> Place:
    """Return the jobs of a namespace.

    ``credentials`` is a block KubernetesCredentials; ``None``: the pod's service account, or the
    kubeconfig, by kubectl's rules.
    """

    @asynccontextmanager
    async def opened() -> AsyncIterator[Jobs]:
        from daskjob import AsyncJobClient

        if credentials is None:
            async with AsyncJobClient(namespace, kubeconfig=kubeconfig, context=context) as client:
                yield ClusterJobs(client)
            return
        async with (
            credentials.get_client("custom_objects") as api,
            AsyncJobClient.from_client(api, namespace) as client,
        ):
            yield ClusterJobs(client)

    return opened
