"""The protocols between a pass and the world.

A ``Backend`` is Kubernetes, this machine, or a fake; all three pass the same contract suite
(``tests/contract``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from daskjob.core.decision import Event, Patch, Retire
from daskjob.core.manifests import Key, Manifest, ObjectRef
from daskjob.core.observed import Observed
from daskjob.core.pods import PodFacts


class Wake(Protocol):
    """Called with an object that a pass may see differently now. Takes no time and never fails."""

    def __call__(self, key: Key, within: float = 0.0) -> None:
        """Have a pass made over the object; within so many seconds is soon enough."""
        ...


class Backend(Protocol):
    """What a pass needs of the world.

    Reads show the backend's own writes: after ``create`` returned, ``observe`` shows the object.
    Every write carries the uid as its precondition; an object that is gone, or another one of the
    same name, is none of ours, and the write does nothing.
    """

    async def observe(self, key: Key) -> Observed | None:
        """Return what there is to see of an object; ``None`` where it does not exist.

        A runner or scheduler that the object's status names and that is missing here was looked
        for in the world itself, not only in a cache.
        """
        ...

    async def create(self, owner: Key, manifest: Manifest) -> None:
        """Create an object; one of this name with the same controller is success.

        Raises
        ------
        Refused
            The world said no; the backend shows it in ``observed.rejections`` until a later try
            succeeds.
        """
        ...

    async def delete(self, ref: ObjectRef) -> None:
        """Delete an object, and in time everything that it owns."""
        ...

    async def stop(self, ref: ObjectRef) -> None:
        """Stop a pod so that its log and exit code stay; it ends as ``DeadlineExceeded``."""
        ...

    async def patch(self, patch: Patch) -> None:
        """Merge a patch into an object's metadata or spec.

        A ``resourceVersion`` in it is a precondition, as the uid is: an object that has changed
        since is left as it is, and its next pass sees to it.
        """
        ...

    async def retire(self, group: ObjectRef, retire: Retire) -> None:
        """Ask the scheduler to move workers' data away; ``observed.retirement`` has its answer."""
        ...

    async def collect_report(self, job: ObjectRef, scheduler: PodFacts) -> None:
        """Ask a scheduler's agent for its report, for 2 s at most; ``observed.report`` has it."""
        ...

    async def write_status(self, ref: ObjectRef, status: Manifest) -> None:
        """Write the whole status of an object.

        Raises
        ------
        StatusRejected
            The world said no to it; the backend shows it in ``observed.status_rejection`` until a
            later one is written.
        """
        ...

    async def emit(self, ref: ObjectRef, events: Iterable[Event]) -> None:
        """Tell events of an object; a failure to tell fails nothing."""
        ...
