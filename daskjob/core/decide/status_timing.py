"""When a changed status is written: one rule for every kind.

Every write wakes external controllers, and each pod of a job changes half a dozen times while it
starts. So a status is written

- at once for a new ``jobStatus`` or phase, a new problem or a decided condition, together with all
  delayed changes;
- else 5 s after the last change of its pods, and no sooner than 5 s after its last write;
- while more pods are becoming ready, 30 s after the first unreported change (60 ms per pod if there
  are more than 500): otherwise each step of a start would be a write (§5.2);
- but, if the number of pods changed, 5 s (60 ms per pod) after the last pod was created or deleted:
  HorizontalPodAutoscalers and ``kubectl scale`` rely on that number;
- 60 s after its last write if only messages differ.

The times are those in the pods' own statuses, so a pass needs no memory of earlier delays. Every
result is a time; one in the past means at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import TypeVar

from daskjob.core.pods import PodFacts
from daskjob.core.status import (
    STARTING,
    ClusterStatus,
    Conditions,
    ConditionType,
    GroupStatus,
    JobStatus,
)
from daskjob.core.values import updated

#: How long pods must be unchanged before a status counts them, and the minimum between two counts.
SETTLED = timedelta(seconds=5)
#: How long to wait for more pods: no API server creates 1,000 within 30 s.
PATIENCE = timedelta(seconds=30)
PATIENCE_PER_POD = timedelta(milliseconds=60)
#: The minimum between two writes that only change messages.
WORDING = timedelta(seconds=60)

#: Conditions that follow the pods; all others are decided.
_READINESS = (
    ConditionType.SCHEDULER_READY,
    ConditionType.WORKERS_READY,
    ConditionType.RUNNER_READY,
)
#: The last write of a status that has none.
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Change(Enum):
    """How a new status differs from the last written one."""

    URGENT = auto()
    #: Counts, or the progress of a start.
    PODS = auto()
    WORDING = auto()


#: The statuses that have conditions and the time of their last write.
Status = TypeVar("Status", JobStatus, ClusterStatus, GroupStatus)


def compared(
    old: Status, new: Status, decided: Callable[[Status], Status], **wording: object
) -> Change:
    """Return how two statuses differ.

    ``decided`` returns a status without the fields that only follow the pods; ``wording`` names
    the fields that only explain others, with the value to compare without them.
    """
    if _decisions(decided(old)) != _decisions(decided(new)):
        return Change.URGENT
    if troubles(new.conditions) - troubles(old.conditions):
        return Change.URGENT
    same = _content(updated(old, **wording)) == _content(updated(new, **wording))
    return Change.WORDING if same else Change.PODS


def troubles(conditions: Conditions) -> frozenset[tuple[str, str]]:
    """Return what keeps pods from being ready, as pairs of condition type and reason."""
    return frozenset(
        (c.type, c.reason)
        for c in conditions
        if c.type in _READINESS and not c.status and c.reason != STARTING
    )


def due_at(
    change: Change,
    pods: Collection[PodFacts],
    now: datetime,
    *,
    written_at: datetime | None,
    more_to_come: bool,
    at_work: bool = False,
    recounted: bool = False,
    latest: datetime | None = None,
) -> datetime:
    """Return when a changed status is written.

    ``more_to_come``: more pods are becoming ready. ``at_work``: this pass creates or deletes pods.
    ``recounted``: the number of pods has changed. ``latest`` bounds the wait for pods.
    """
    written = written_at or _LONG_AGO
    if change is Change.URGENT:
        return now
    if change is Change.WORDING:
        return written + WORDING
    ours = [now] if at_work else []
    moves = _since(written, (m for pod in pods for m in pod.moved_at), now) + ours
    due = min(moves, default=written) + max(PATIENCE, len(pods) * PATIENCE_PER_POD)
    if not more_to_come:
        due = min(due, max(moves, default=written) + SETTLED)
    if recounted:
        counts = _since(written, (m for pod in pods for m in pod.counted_at), now) + ours
        due = min(due, max(counts, default=written) + max(SETTLED, len(pods) * PATIENCE_PER_POD))
    return due if latest is None else min(due, latest)


def _since(written: datetime, moments: Iterable[datetime], now: datetime) -> list[datetime]:
    """Return the times after ``written``; a node's clock that is far ahead must delay nothing."""
    return [moment for moment in moments if written < moment <= now + SETTLED]


def _decisions(status: Status) -> tuple[Status, object]:
    decided = tuple((c.type, c.status) for c in status.conditions if c.type not in _READINESS)
    return _bare(updated(status, observed_generation=0)), decided


def _content(status: Status) -> tuple[Status, object]:
    return _bare(status), tuple((c.type, c.status, c.reason) for c in status.conditions)


def _bare(status: Status) -> Status:
    return updated(status, conditions=(), updated_at=None)
