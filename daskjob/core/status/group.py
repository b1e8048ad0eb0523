"""A DaskWorkerGroup's status. No I/O here."""

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
        count("observedGeneration", "The generation of the spec that this speaks of."), 0
    )
    replicas: int = row(count("replicas", "The worker pods."), 0, always=True)
    ready_replicas: int = row(
        count("readyReplicas", "Those of them that are ready."), 0, always=True
    )
    selector: str = row(Text("selector", "The labels of the worker pods."), "")
    #: For the back-off: a worker that stayed sets it to 0.
    failures: int = row(count("failures", "Workers that ended one after the other."), 0)
    last_failure_time: datetime | None = row(
        Time("lastFailureTime", "When the last of them ended.")
    )
    updated_at: datetime | None = row(Time("updatedAt", "When this was written last."))
    conditions: Conditions = conditions_row()


GROUP_STATUS = status_record("What is told of the group.", GroupStatus)
group_status_from = GroupStatus.from_manifest
