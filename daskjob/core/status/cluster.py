"""A DaskCluster's status. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from daskjob.core.rows import row
from daskjob.core.shapes import Choice, Text, Time, count
from daskjob.core.status.conditions import Conditions, conditions_row
from daskjob.core.status.part import StatusPart, status_record


class ClusterPhase(StrEnum):
    """The words of a cluster's ``status.phase``."""

    CREATED = "Created"
    PENDING = "Pending"
    RUNNING = "Running"
    ERROR = "Error"


@dataclass(frozen=True, slots=True)
class ClusterStatus(StatusPart):
    """A DaskCluster's status."""

    observed_generation: int = row(
        count("observedGeneration", "The generation of the spec that this speaks of."), 0
    )
    phase: ClusterPhase | None = row(
        Choice("phase", "One word for the cluster.", ClusterPhase, or_empty=True)
    )
    replicas: int = row(count("replicas", "The worker pods of the default group."), 0, always=True)
    ready_replicas: int = row(
        count("readyReplicas", "Those of them that are ready."), 0, always=True
    )
    #: The merge base of the cluster's and the default group's counts (design §4a).
    synced_replicas: int | None = row(
        count("syncedReplicas", "The count that the cluster and its default group last agreed on.")
    )
    #: For the back-off.
    scheduler_failures: int = row(
        count("schedulerFailures", "Schedulers that ended one after the other."), 0
    )
    last_failure_time: datetime | None = row(
        Time("lastFailureTime", "When the last of them ended.")
    )
    scheduler_address: str = row(
        Text("schedulerAddress", "Where workers and clients connect to."), ""
    )
    dashboard_url: str = row(Text("dashboardURL", "Where the dashboard is."), "")
    selector: str = row(Text("selector", "The labels of the default group's worker pods."), "")
    updated_at: datetime | None = row(Time("updatedAt", "When this was written last."))
    conditions: Conditions = conditions_row()


CLUSTER_STATUS = status_record("What is told of the cluster.", ClusterStatus)
cluster_status_from = ClusterStatus.from_manifest
