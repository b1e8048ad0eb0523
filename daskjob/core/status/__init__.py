"""What is told of our objects: typed, frozen, absent instead of null. No I/O here."""

from daskjob.core.status.cluster import ClusterPhase, ClusterStatus, cluster_status_from
from daskjob.core.status.conditions import (
    MESSAGE_LIMIT,
    Condition,
    Conditions,
    ConditionType,
    condition_from,
    find_condition,
    is_true,
    shortened_message,
    with_condition,
)
from daskjob.core.status.group import GroupStatus, group_status_from
from daskjob.core.status.job import (
    ATTEMPTS_KEPT,
    RESULT_LIMIT_BYTES,
    TERMINAL_WORDS,
    Attempt,
    JobStatus,
    JobStatusWord,
    Phase,
    Progress,
    Workers,
    derived_phase,
    job_status_from,
)

__all__ = [
    "ATTEMPTS_KEPT",
    "MESSAGE_LIMIT",
    "RESULT_LIMIT_BYTES",
    "TERMINAL_WORDS",
    "Attempt",
    "ClusterPhase",
    "ClusterStatus",
    "Condition",
    "ConditionType",
    "Conditions",
    "GroupStatus",
    "JobStatus",
    "JobStatusWord",
    "Phase",
    "Progress",
    "Workers",
    "cluster_status_from",
    "condition_from",
    "derived_phase",
    "find_condition",
    "group_status_from",
    "is_true",
    "job_status_from",
    "shortened_message",
    "with_condition",
]
