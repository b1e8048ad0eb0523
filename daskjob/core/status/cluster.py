"""A DaskCluster's status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from daskjob.core.rows import row
from daskjob.core.shapes import Choice, Text, Time, count
from daskjob.core.status.conditions import Conditions, conditions_row
from daskjob.core.status.part import StatusPart, status_record


class ClusterPhase(StrEnum):
    """The values of a cluster's ``status.phase``."""

    CREATED = "Created"
    PENDING = "Pending"
    RUNNING = "Running"
    ERROR = "Error"


@dataclass(frozen=True, slots=True)
class ClusterStatus(StatusPart):
    """A DaskCluster's status."""

    observed_generation: int = row(
        count("observedGeneration", "Generation of the spec that this status is about."), 0
    )
    phase: ClusterPhase | None = row(
        Choice("phase", "Summary of the state of the cluster.", ClusterPhase, or_empty=True)
    )
    replicas: int = row(
        count("replicas", "Number of worker pods of the default group."), 0, always=True
    )
    ready_replicas: int = row(
        count("readyReplicas", "Number of worker pods of the default group that are ready."),
        0,
        always=True,
    )
    #: The merge base of the cluster's and the default group's counts (design §4a).
    synced_replicas: int | None = row(
        count("syncedReplicas", "Replica count on which cluster and default group last agreed.")
    )
    #: For the back-off.
    scheduler_failures: int = row(
        count("schedulerFailures", "Number of consecutive failures of the scheduler."), 0
    )
    last_failure_time: datetime | None = row(
        Time("lastFailureTime", "Time of the last failure of the scheduler.")
    )
    scheduler_address: str = row(
        Text("schedulerAddress", "Address that workers and clients connect to."), ""
    )
    dashboard_url: str = row(Text("dashboardURL", "URL of the scheduler's dashboard."), "")
    selector: str = row(Text("selector", "Label selector of the default group's worker pods."), "")
    updated_at: datetime | None = row(Time("updatedAt", "Last time that this status was written."))
    conditions: Conditions = conditions_row()


CLUSTER_STATUS = status_record("Observed state of the cluster.", ClusterStatus)
cluster_status_from = ClusterStatus.from_manifest
