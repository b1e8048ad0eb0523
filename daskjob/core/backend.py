"""The protocols that passes use.

A ``Backend`` is Kubernetes, this machine, or a fake; all three pass the same contract suite
(``tests/contract``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Protocol

from daskjob.core.decision import Event, Patch, Retire
from daskjob.core.manifests import Key, Manifest, ObjectRef
from daskjob.core.observed import Observed
from daskjob.core.pods import PodFacts


class Wake(Protocol):
    """Called with an object whose pass may see a change. Must be quick and never fail."""

    def __call__(self, key: Key, within: float = 0.0) -> None:
        """Request a pass over the object within this number of seconds."""
        ...


class Backend(Protocol):
    """Where a pass observes and writes.

    Reads show the backend's own writes: after ``create`` has returned, ``observe`` shows the
    object. The uid is a precondition of every write: if the object is gone, or another one has its
    name, the write does nothing.
    """

    async def observe(self, key: Key) -> Observed | None:
        """Return the observed state of an object; ``None`` if it does not exist.

        If a runner or scheduler that the object's status names is missing here, it was looked up
        directly, not only in a cache.

        Raises
        ------
        AnswerPending
            The pass needs an answer that is on its way and wakes it.
        """
        ...

    async def create(self, owner: Key, manifest: Manifest) -> None:
        """Create an object; if one of this name has the same controller, that is success.

        Raises
        ------
        CreateRejected
            The object was rejected; the rejection stays in ``observed.rejections`` until a retry
            succeeds or a pass withdraws it.
        """
        ...

    def withdraw(self, owner: ObjectRef, names: Collection[str]) -> None:
        """Discard the rejections of objects (``Kind/name``) that a pass does not want any more."""
        ...

    async def delete(self, ref: ObjectRef) -> None:
        """Delete an object, and eventually its dependents."""
        ...

    async def stop(self, ref: ObjectRef) -> None:
        """Stop a pod but keep its log and exit code; it ends as ``DeadlineExceeded``."""
        ...

    async def patch(self, patch: Patch) -> None:
        """Merge a patch into an object's metadata or spec.

        A ``resourceVersion`` in it is a precondition, like the uid: an object that has changed is
        not patched; its next pass decides again.
        """
        ...

    async def retire(self, group: ObjectRef, retire: Retire) -> None:
        """Ask the scheduler to move workers' data away; ``observed.retirement`` has its answer."""
        ...

    async def collect_report(self, job: ObjectRef, scheduler: PodFacts) -> None:
        """Ask a scheduler's agent for its report, for 2 s at most; ``observed.report`` has it.

        It may be there only after a later pass, which the answer wakes.
        """
        ...

    async def write_status(self, ref: ObjectRef, status: Manifest) -> None:
        """Write the whole status of an object.

        Raises
        ------
        StatusRejected
            The status was rejected; the rejection stays in ``observed.status_rejection`` until a
            status is written.
        """
        ...

    async def emit(self, ref: ObjectRef, events: Iterable[Event]) -> None:
        """Emit Events on an object; failures are ignored."""
        ...
