"""Conditions: facts with the reason for them, as Kubernetes' conventions mean them. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from daskjob.core.manifests import Manifest, format_time, parse_time, without_nones
from daskjob.core.shapes import Choice, Many, Record, Text, Time, count

#: What a condition's or a status' message may take, so that a status stays small.
MESSAGE_LIMIT = 1024


class ConditionType(StrEnum):
    """The conditions of our kinds, in the order in which they are listed."""

    SUSPENDED = "Suspended"
    SCHEDULER_READY = "SchedulerReady"
    WORKERS_READY = "WorkersReady"
    RUNNER_READY = "RunnerReady"
    RETRYING = "Retrying"
    STALLED = "Stalled"
    COMPLETE = "Complete"
    FAILED = "Failed"
    CLEANUP_BLOCKED = "CleanupBlocked"
    #: Of an autoscaler: whether the group follows the scheduler.
    SCALING_ACTIVE = "ScalingActive"


class Truth(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


CONDITIONS = Many(
    "conditions",
    "Facts, each with the reason for it.",
    Record(
        "",
        "A fact.",
        (
            Text("type", "What it is about.", required="write the condition's type"),
            Choice("status", "Whether it holds.", Truth, required="write True or False"),
            Text("reason", "Why, in a word."),
            Text("message", "Why, in a sentence."),
            count("observedGeneration", "The generation of the spec that it speaks of."),
            Time("lastTransitionTime", "Since when it holds, or does not."),
        ),
        open=True,
    ),
    key="type",
)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition, as Kubernetes means them: a fact with the reason for it."""

    type: str
    status: bool
    reason: str
    message: str = ""
    observed_generation: int = 0
    last_transition_time: datetime | None = None

    def to_manifest(self) -> Manifest:
        """Return the condition as the API holds it."""
        return without_nones(
            {
                "type": str(self.type),
                "status": str(Truth.TRUE if self.status else Truth.FALSE),
                "reason": self.reason,
                "message": self.message,
                "observedGeneration": self.observed_generation,
                "lastTransitionTime": format_time(self.last_transition_time),
            }
        )


def condition_from(manifest: Mapping[str, object]) -> Condition:
    """Return a condition from what the API holds."""
    generation = manifest.get("observedGeneration")
    return Condition(
        type=str(manifest.get("type", "")),
        status=manifest.get("status") == Truth.TRUE,
        reason=str(manifest.get("reason") or ""),
        message=str(manifest.get("message") or ""),
        observed_generation=generation if isinstance(generation, int) else 0,
        last_transition_time=parse_time(manifest.get("lastTransitionTime")),
    )


Conditions = tuple[Condition, ...]


def with_condition(conditions: Conditions, new: Condition, now: datetime) -> Conditions:
    """Return the conditions with one of them replaced or added.

    The time of the last transition changes only with the status, as Kubernetes' conventions ask.
    """
    old = find_condition(conditions, new.type)
    since = old.last_transition_time if old and old.status == new.status else now
    stamped = replace(new, message=shortened_message(new.message), last_transition_time=since)
    if old is None:
        return _ordered((*conditions, stamped))
    if stamped == old:
        return conditions
    return tuple(stamped if c.type == new.type else c for c in conditions)


def find_condition(conditions: Conditions, kind: str) -> Condition | None:
    """Return the condition of a type, or ``None``."""
    return next((c for c in conditions if c.type == kind), None)


def is_true(conditions: Conditions, kind: str) -> bool:
    """Say whether a condition is there and true."""
    found = find_condition(conditions, kind)
    return found is not None and found.status


def _ordered(conditions: Conditions) -> Conditions:
    known = [str(t) for t in ConditionType]
    rank = {name: index for index, name in enumerate(known)}
    return tuple(sorted(conditions, key=lambda c: rank.get(c.type, len(rank))))


def shortened_message(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Return a message that fits a status, cut with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
