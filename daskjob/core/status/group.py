"""A DaskWorkerGroup's status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from daskjob.core.rows import row
from daskjob.core.shapes import Text, Time, count
from daskjob.core.status.conditions import Conditions, conditions_row
from daskjob.core.status.part import StatusPart, status_record


@dataclass(frozen=True, slots=True)
class GroupStatus(StatusPart):
    """A DaskWorkerGroup's status."""

    observed_generation: int = row(
        count("observedGeneration", "Generation of the spec that this status is about."), 0
    )
    replicas: int = row(count("replicas", "Number of worker pods."), 0, always=True)
    ready_replicas: int = row(
        count("readyReplicas", "Number of worker pods that are ready."), 0, always=True
    )
    selector: str = row(Text("selector", "Label selector of the worker pods."), "")
    #: For the back-off; a worker that keeps running resets it to 0.
    failures: int = row(count("failures", "Number of consecutive failures of workers."), 0)
    last_failure_time: datetime | None = row(
        Time("lastFailureTime", "Time of the last failure of a worker.")
    )
    updated_at: datetime | None = row(Time("updatedAt", "Last time that this status was written."))
    conditions: Conditions = conditions_row()


GROUP_STATUS = status_record("Observed state of the group.", GroupStatus)
group_status_from = GroupStatus.from_manifest
