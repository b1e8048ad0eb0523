"""What the rule needs of a client, and any blocking client as one that it can await."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from daskjob.core.manifests import Manifest
from daskjob.submit.jobs import Job, JobRef

# This machine needs none of the packages of a cluster.
if TYPE_CHECKING:
    from daskjob.submit.client.sync_client import JobClient
    from daskjob.submit.local import LocalJobs

T = TypeVar("T")


class Place(Protocol):
    """The jobs of a cluster or of this machine."""

    async def list(self, *, labels: str = "", namespace: str = "") -> tuple[Job, ...]:
        """Return all jobs with these labels; by default in the client's namespace."""

    async def get(self, ref: JobRef) -> Job:
        """Return the current state of a job; without a uid, of the one that has the name."""

    async def submit(self, job: Manifest, *, owned: Sequence[Manifest] = ()) -> JobRef:
        """Submit a job under its own name, and create what it owns."""

    async def create_owned(self, ref: JobRef, owned: Sequence[Manifest]) -> None:
        """Create what a job owns, as far as it does not exist."""

    async def cancel(self, ref: JobRef) -> bool:
        """Cancel a job."""

    async def wait(
        self, ref: JobRef, *, timeout_seconds: float | None, raise_on_failure: bool
    ) -> Job:
        """Wait until a job has ended."""


class Blocking:
    """A blocking client: each call has ended when it is awaited."""

    def __init__(self, client: JobClient | LocalJobs) -> None:
        self._client = client

    async def list(self, *, labels: str = "", namespace: str = "") -> tuple[Job, ...]:
        """Return all jobs with these labels; by default in the client's namespace."""
        return self._client.list(labels=labels, namespace=namespace)

    async def get(self, ref: JobRef) -> Job:
        """Return the current state of a job; without a uid, of the one that has the name."""
        return self._client.get(ref)

    async def submit(self, job: Manifest, *, owned: Sequence[Manifest] = ()) -> JobRef:
        """Submit a job under its own name, and create what it owns."""
        return self._client.submit(job, owned=owned)

    async def create_owned(self, ref: JobRef, owned: Sequence[Manifest]) -> None:
        """Create what a job owns, as far as it does not exist."""
        self._client.create_owned(ref, owned)

    async def cancel(self, ref: JobRef) -> bool:
        """Cancel a job."""
        return self._client.cancel(ref)

    async def wait(
        self, ref: JobRef, *, timeout_seconds: float | None, raise_on_failure: bool
    ) -> Job:
        """Wait until a job has ended."""
        return self._client.wait(
            ref, timeout_seconds=timeout_seconds, raise_on_failure=raise_on_failure
        )


def finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that awaits blocking calls only; it needs no event loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("a coroutine of blocking calls waits for something else")
