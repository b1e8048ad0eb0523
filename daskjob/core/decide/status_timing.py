"""When a changed status is written: one rule for every kind. No I/O here.

Every write wakes outside controllers, and each pod of a job changes half a dozen times while it
starts. So a status is written

- at once for a word, a new trouble or a decided condition, with all that was held back;
- else 5 s after its pods moved last, and no sooner than 5 s after its last write;
- while more pods are about to be ready, 30 s after the first move that it does not report (60 ms a
  pod where they are more than 500): each step of a start would be a write of its own (§5.2);
- but 5 s (60 ms a pod) after the last pod came or went where it changes their number, on which
  HorizontalPodAutoscalers and ``kubectl scale`` rely;
- 60 s after its last write where only the wording differs.

The moments are those that the pods themselves report, so that a pass needs no memory of what
earlier ones held back. Every answer is a moment; one that is not to come means at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import TypeVar

from daskjob.core.pods import PodFacts
from daskjob.core.status import ClusterStatus, Conditions, ConditionType, GroupStatus, JobStatus
from daskjob.core.values import updated

#: How long pods have to stand still before a status counts them, and the least between two counts.
STILL = timedelta(seconds=5)
#: How long more pods are waited for: no API server creates 1,000 within 30 s.
PATIENCE = timedelta(seconds=30)
PATIENCE_PER_POD = timedelta(milliseconds=60)
#: How often a changed wording alone is written.
WORDING = timedelta(seconds=60)

#: Reason of a condition that follows the pods while a start makes progress.
STARTING = "Starting"
#: Conditions that follow the pods; all others are decided.
_READINESS = (
    ConditionType.SCHEDULER_READY,
    ConditionType.WORKERS_READY,
    ConditionType.RUNNER_READY,
)
#: The last write of a status that has none.
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Change(Enum):
    """How far a new status differs from the one that was written last."""

    URGENT = auto()
    #: Counts, or how far a start is.
    PODS = auto()
    WORDING = auto()


#: The kinds of status that have conditions and the moment of their last write.
Status = TypeVar("Status", JobStatus, ClusterStatus, GroupStatus)


def compared(
    old: Status, new: Status, decided: Callable[[Status], Status], **wording: str
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

    ``more_to_come``: more pods are about to be ready. ``at_work``: pods are about to be created or
    deleted. ``recounted``: the number of pods is another one. ``latest`` bounds the wait for pods.
    """
    written = written_at or _LONG_AGO
    if change is Change.URGENT:
        return now
    if change is Change.WORDING:
        return written + WORDING
    about_to = [now] if at_work else []
    moves = _since(written, (m for pod in pods for m in pod.moved_at), now) + about_to
    due = min(moves, default=written) + max(PATIENCE, len(pods) * PATIENCE_PER_POD)
    if not more_to_come:
        due = min(due, max(moves, default=written) + STILL)
    if recounted:
        counts = _since(written, (m for pod in pods for m in pod.counted_at), now) + about_to
        due = min(due, max(counts, default=written) + max(STILL, len(pods) * PATIENCE_PER_POD))
    return due if latest is None else min(due, latest)


def _since(written: datetime, moments: Iterable[datetime], now: datetime) -> list[datetime]:
    """Leave out what a node's clock, far ahead, has happen later: it must hold nothing back."""
    return [moment for moment in moments if written < moment <= now + STILL]


def _decisions(status: Status) -> tuple[Status, object]:
    decided = tuple((c.type, c.status) for c in status.conditions if c.type not in _READINESS)
    return _bare(updated(status, observed_generation=0)), decided


def _content(status: Status) -> tuple[Status, object]:
    return _bare(status), tuple((c.type, c.status, c.reason) for c in status.conditions)


def _bare(status: Status) -> Status:
    return updated(status, conditions=(), updated_at=None)
