"""The statuses of our kinds as frozen dataclasses; a value is absent, never null."""

from daskjob.core.status.autoscaler import (
    AUTOSCALER_STATUS,
    AutoscalerStatus,
    autoscaler_status_from,
)
from daskjob.core.status.cluster import (
    CLUSTER_STATUS,
    ClusterPhase,
    ClusterStatus,
    cluster_status_from,
)
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
from daskjob.core.status.group import GROUP_STATUS, GroupStatus, group_status_from
from daskjob.core.status.job import (
    ATTEMPTS_KEPT,
    JOB_STATUS,
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
    "AUTOSCALER_STATUS",
    "CLUSTER_STATUS",
    "GROUP_STATUS",
    "JOB_STATUS",
    "MESSAGE_LIMIT",
    "RESULT_LIMIT_BYTES",
    "TERMINAL_WORDS",
    "Attempt",
    "AutoscalerStatus",
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
    "autoscaler_status_from",
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
