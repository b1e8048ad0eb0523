"""What stands between the passes and the world: only who leads writes, and what is seen is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from daskjob.controller.job_metrics import Jobs
from daskjob.core.backend import Backend
from daskjob.core.decision import Event, Patch, Retire
from daskjob.core.errors import ApiError
from daskjob.core.manifests import Key, Manifest, ObjectRef
from daskjob.core.observed import Observed
from daskjob.core.pods import PodFacts


class NotLeading(ApiError):
    """The lead is lost; another operator makes the passes."""


class LeaderOnly:
    """A backend whose writes need the lead at the moment of each one.

    A process that was stopped for a while, or whose machine was, wakes up in the middle of a pass
    and knows nothing of it. Passes end when the lead is lost, but these come first. A world in
    which writes wait for their turn asks ``check`` once more when that has come.
    """

    def __init__(self, backend: Backend, leads: Callable[[], bool], jobs: Jobs) -> None:
        self._backend = backend
        self._leads = leads
        self._jobs = jobs

    async def observe(self, key: Key) -> Observed | None:
        """Return what there is to see of an object."""
        observed = await self._backend.observe(key)
        self._jobs.saw(key, observed)
        return observed

    async def create(self, owner: Key, manifest: Manifest) -> None:
        """Create an object."""
        self.check()
        await self._backend.create(owner, manifest)

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
        """Tell events."""
        self.check()
        await self._backend.emit(ref, events)

    def check(self) -> None:
        """Say no to a write where the lead is lost.

        Raises
        ------
        NotLeading
            It is.
        """
        if not self._leads():
            raise NotLeading("this operator leads no longer, and writes nothing")
