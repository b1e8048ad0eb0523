"""Conditions: facts with their reasons, as in Kubernetes' API conventions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from daskjob.core.messages import cut
from daskjob.core.rows import nested_list, required, row
from daskjob.core.shapes import Choice, Text, Time, count
from daskjob.core.status.part import StatusPart

#: Characters of a condition's or a status' message, so that a status stays small.
MESSAGE_LIMIT = 1024


#: Reason of a condition that follows the pods while a start makes progress.
STARTING = "Starting"


class ConditionType(StrEnum):
    """The conditions of our kinds, in the order of their list."""

    SUSPENDED = "Suspended"
    SCHEDULER_READY = "SchedulerReady"
    WORKERS_READY = "WorkersReady"
    RUNNER_READY = "RunnerReady"
    RETRYING = "Retrying"
    STALLED = "Stalled"
    COMPLETE = "Complete"
    FAILED = "Failed"
    CLEANUP_BLOCKED = "CleanupBlocked"
    #: Of an autoscaler: whether the group follows the scheduler's demand.
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
    """One condition, as in Kubernetes' API conventions: a fact with its reason."""

    type: str = field(
        metadata=required(
            Text("type", "Type of the condition.", required="write the condition's type"),
            "",
            always=True,
            write=str,
        )
    )
    status: bool = field(
        metadata=required(
            Choice("status", "Whether the condition holds.", Truth, required="write True or False"),
            False,
            always=True,
            read=_is_true,
            write=_truth,
        )
    )
    reason: str = field(metadata=required(Text("reason", "Why, in one word."), "", always=True))
    message: str = row(Text("message", "Human-readable message."), "", always=True)
    observed_generation: int = row(
        count("observedGeneration", "Generation of the spec that it is about."),
        0,
        always=True,
    )
    last_transition_time: datetime | None = row(
        Time("lastTransitionTime", "Last time that the status of the condition changed.")
    )


condition_from = Condition.from_manifest
Conditions = tuple[Condition, ...]


def conditions_row() -> Conditions:
    """Return the field of a status that holds its conditions."""
    return nested_list(
        "conditions", "Conditions of the object.", Condition, "A condition.", key="type"
    )


def with_condition(conditions: Conditions, new: Condition, now: datetime) -> Conditions:
    """Return the conditions with one of them replaced or added.

    The last transition time changes only with the status, as Kubernetes' conventions require.
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
    """Return whether a condition exists and is true."""
    found = find_condition(conditions, kind)
    return found is not None and found.status


def _ordered(conditions: Conditions) -> Conditions:
    known = [str(t) for t in ConditionType]
    rank = {name: index for index, name in enumerate(known)}
    return tuple(sorted(conditions, key=lambda c: rank.get(c.type, len(rank))))
