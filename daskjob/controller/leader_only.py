"""Wraps the backend of the passes: rejects writes unless leading, and feeds the job metrics."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from daskjob.controller.job_metrics import Jobs
from daskjob.core.backend import Backend
from daskjob.core.decision import Event, Patch, Retire
from daskjob.core.errors import ApiError
from daskjob.core.manifests import Key, Manifest, ObjectRef
from daskjob.core.observed import Observed
from daskjob.core.pods import PodFacts


class NotLeading(ApiError):
    """Another operator is the leader now."""


class LeaderOnly:
    """A backend that checks leadership at each write.

    A process that was suspended, or whose machine was, resumes in the middle of a pass and may have
    lost the lead. Passes are cancelled then, but their next write may come first. A world that
    queues writes calls ``check`` again when it sends one.
    """

    def __init__(self, backend: Backend, leads: Callable[[], bool], jobs: Jobs) -> None:
        self._backend = backend
        self._leads = leads
        self._jobs = jobs

    async def observe(self, key: Key) -> Observed | None:
        """Observe an object."""
        observed = await self._backend.observe(key)
        self._jobs.saw(key, observed)
        return observed

    async def create(self, owner: Key, manifest: Manifest) -> None:
        """Create an object."""
        self.check()
        await self._backend.create(owner, manifest)

    def withdraw(self, owner: ObjectRef, names: Collection[str]) -> None:
        """Discard rejections; that changes nothing outside."""
        self._backend.withdraw(owner, names)

    async def delete(self, ref: ObjectRef) -> None:
        """Delete an object."""
        self.check()
        await self._backend.delete(ref)

    async def stop(self, ref: ObjectRef) -> None:
        """Stop a pod."""
        self.check()
        await self._backend.stop(ref)

    async def patch(self, patch: Patch) -> None:
        """Patch an object."""
        self.check()
        await self._backend.patch(patch)

    async def retire(self, group: ObjectRef, retire: Retire) -> None:
        """Ask a scheduler to move workers' data away."""
        self.check()
        await self._backend.retire(group, retire)

    async def collect_report(self, job: ObjectRef, scheduler: PodFacts) -> None:
        """Ask a job's scheduler for its report; that changes nothing."""
        await self._backend.collect_report(job, scheduler)

    async def write_status(self, ref: ObjectRef, status: Manifest) -> None:
        """Write a status."""
        self.check()
        await self._backend.write_status(ref, status)
        self._jobs.wrote(ref, status)

    async def emit(self, ref: ObjectRef, events: Iterable[Event]) -> None:
        """Emit events."""
        self.check()
        await self._backend.emit(ref, events)

    def check(self) -> None:
        """Reject a write unless this operator leads.

        Raises
        ------
        NotLeading
            It does not lead any more.
        """
        if not self._leads():
            raise NotLeading("this operator is not the leader any more, and writes nothing")
