"""When a changed status is written: at once, or when its pods have come to stand still.

No I/O here. Every write wakes outside controllers, and each pod of a job changes half a dozen times
while it starts. What somebody must know is written at once and takes all else with it. What only
counts, or tells of a start that goes its way, waits until the pods have stood still for a moment,
so that all of it is one write (design §5.2).

The moments are those that the pods themselves tell, so that a pass needs no memory of what earlier
ones held back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from daskjob.core.pods import PodFacts
from daskjob.core.status import Condition, Conditions, ConditionType

#: How long pods have to stand still before a status counts them anew.
STILL_SECONDS = 5
#: How long pods that never stand still, or that come one by one, are waited for.
RESTLESS_SECONDS = 30
#: The same for each of many pods, where that is longer: no API server creates 1,000 within 30 s.
RESTLESS_SECONDS_A_POD = 0.06
#: How long, for each of many pods, a changed number waits for what else they are about to tell.
COUNTED_SECONDS_A_POD = 0.04
#: How often a changed wording alone is written.
WORDING_SECONDS = 60

#: Conditions that follow the pods; all others say what was decided.
_READINESS = (
    ConditionType.SCHEDULER_READY,
    ConditionType.WORKERS_READY,
    ConditionType.RUNNER_READY,
)
#: Their reason while a start goes its way.
STARTING = "Starting"


def decided(conditions: Conditions) -> tuple[tuple[str, bool], ...]:
    """Return the conditions that are told at once, whichever way they turn."""
    return tuple((c.type, c.status) for c in conditions if c.type not in _READINESS)


def troubles(conditions: Conditions) -> frozenset[tuple[str, str]]:
    """Return what is in the way of pods, in a word each: a new one is told at once."""
    return frozenset((c.type, c.reason) for c in conditions if _is_trouble(c))


def _is_trouble(condition: Condition) -> bool:
    return condition.type in _READINESS and not condition.status and condition.reason != STARTING


def without_wording(conditions: Conditions) -> tuple[tuple[str, bool, str], ...]:
    """Return what the conditions say, whatever their words for it."""
    return tuple((c.type, c.status, c.reason) for c in conditions)


def a_while_after(moment: datetime) -> datetime:
    """Return when something that happened is told, if nothing more has been heard of it."""
    return moment + timedelta(seconds=STILL_SECONDS)


def still_at(
    pods: Collection[PodFacts], written_at: datetime | None, now: datetime, *, more_to_come: bool
) -> datetime | None:
    """Return when pods have stood still for long enough; ``None``: nothing tells that they moved.

    Those that never do, or of which more are about to be ready, are waited for no longer than 30 s
    (60 ms a pod where they are more than 500) after the first that is not told yet.
    """
    moments = _past((moment for pod in pods for moment in pod.moved_at), now)
    if not moments:
        return None
    untold = [m for m in moments if written_at is None or m > written_at] or moments
    latest = min(untold) + _patience(len(pods))
    return latest if more_to_come else min(a_while_after(max(moments)), latest)


def settled_at(pods: Collection[PodFacts], written_at: datetime | None, now: datetime) -> datetime:
    """Return when counts are told while more pods are about to come or to go.

    A moment later there are others; where that goes on and on, 30 s (60 ms a pod where they are
    more than 500) after the first that is not told yet.
    """
    moments = _past((moment for pod in pods for moment in pod.moved_at), now)
    untold = [m for m in moments if written_at is None or m > written_at]
    soon = a_while_after(now)
    return min(soon, min(untold) + _patience(len(pods))) if untold else soon


def counted_at(pods: Collection[PodFacts], now: datetime) -> datetime | None:
    """Return when a changed number of pods is told: HPA and ``kubectl scale`` rely on it.

    5 s after the last one came or went, 40 ms a pod where they are more than 125: it takes up to
    that long until all of them are ready, too, and then both are told in one.
    """
    moments = _past((moment for pod in pods for moment in pod.counted_at), now)
    wait = timedelta(seconds=max(STILL_SECONDS, len(pods) * COUNTED_SECONDS_A_POD))
    return max(moments) + wait if moments else None


def rephrased_at(written_at: datetime | None) -> datetime | None:
    """Return when a status is written of which nothing but the wording has changed."""
    return None if written_at is None else written_at + timedelta(seconds=WORDING_SECONDS)


def soonest(moments: Iterable[datetime | None]) -> datetime | None:
    """Return the first of some moments; ``None``, at once, comes before all others."""
    found = list(moments)
    return None if None in found else min(moment for moment in found if moment is not None)


def _patience(pods: int) -> timedelta:
    return timedelta(seconds=max(RESTLESS_SECONDS, pods * RESTLESS_SECONDS_A_POD))


def _past(moments: Iterable[datetime], now: datetime) -> list[datetime]:
    """Leave out what a node's clock, far ahead, has happen later: it must hold nothing back."""
    latest = now + timedelta(seconds=STILL_SECONDS)
    return [moment for moment in moments if moment <= latest]
