"""Conditions: facts with the reason for them, as Kubernetes' conventions mean them. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from daskjob.core.messages import cut
from daskjob.core.rows import nested_list, required, row
from daskjob.core.shapes import Choice, Text, Time, count
from daskjob.core.status.part import StatusPart

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


def _truth(status: bool) -> str:
    return str(Truth.TRUE if status else Truth.FALSE)


def _is_true(status: object) -> bool:
    return status == Truth.TRUE


def shortened_message(text: str) -> str:
    """Return a message that fits a status."""
    return cut(text, MESSAGE_LIMIT)


@dataclass(frozen=True, slots=True)
class Condition(StatusPart):
    """One condition, as Kubernetes means them: a fact with the reason for it."""

    type: str = field(
        metadata=required(
            Text("type", "What it is about.", required="write the condition's type"),
            "",
            always=True,
            write=str,
        )
    )
    status: bool = field(
        metadata=required(
            Choice("status", "Whether it holds.", Truth, required="write True or False"),
            False,
            always=True,
            read=_is_true,
            write=_truth,
        )
    )
    reason: str = field(metadata=required(Text("reason", "Why, in a word."), "", always=True))
    message: str = row(Text("message", "Why, in a sentence."), "", always=True)
    observed_generation: int = row(
        count("observedGeneration", "The generation of the spec that it speaks of."),
        0,
        always=True,
    )
    last_transition_time: datetime | None = row(
        Time("lastTransitionTime", "Since when it holds, or does not.")
    )


condition_from = Condition.from_manifest
Conditions = tuple[Condition, ...]


def conditions_row() -> Conditions:
    """Return the field of a status that holds its conditions."""
    return nested_list(
        "conditions", "Facts, each with the reason for it.", Condition, "A fact.", key="type"
    )


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
