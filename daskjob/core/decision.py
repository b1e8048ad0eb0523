"""The decision of a pass: everything that it will do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.core.pods import PodFacts


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes Event on the object of the pass, emitted after its status was written, if it is.

    It is emitted before anything is deleted.
    """

    reason: str
    message: str
    warning: bool = False
    #: When it happened, where that was before the status was written.
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """A merge patch of one object's metadata or spec."""

    ref: ObjectRef
    body: Manifest


@dataclass(frozen=True, slots=True)
class Retire:
    """A request to a cluster's scheduler to move data away from these workers."""

    addresses: tuple[str, ...]
    timeout_seconds: int
    #: The scheduler pod that the pass observed; ``None`` if there is none.
    scheduler: PodFacts | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What to create, delete, stop and report, and when to look again."""

    #: The whole new status; ``None``: unchanged.
    status: Manifest | None = None
    create: tuple[Manifest, ...] = ()
    delete: tuple[ObjectRef, ...] = ()
    #: Runner pods to stop so that their log stays.
    stop: tuple[ObjectRef, ...] = ()
    patch: tuple[Patch, ...] = ()
    retire: Retire | None = None
    #: The scheduler pod to ask for its report before the end of an attempt is decided.
    report_from: PodFacts | None = None
    events: tuple[Event, ...] = ()
    #: Rejected objects, as ``Kind/name``, that the pass does not want any more.
    withdrawn: tuple[str, ...] = ()
    #: When time alone may change the decision.
    wake_at: datetime | None = None


NOTHING = Decision()
#: The number of objects that one pass creates, or deletes, at most: users choose the size of a
#: group, and the passes of other objects wait meanwhile. The next pass goes on.
MOST_OBJECTS = 500


def earliest(moments: Iterable[datetime | None], now: datetime) -> datetime | None:
    """Return the earliest of these moments that is after now."""
    return min((m for m in moments if m is not None and m > now), default=None)
