"""A DaskAutoscaler's status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from daskjob.core.rows import row
from daskjob.core.shapes import Text, Time, count
from daskjob.core.status.conditions import Conditions, conditions_row, shortened_message
from daskjob.core.status.part import StatusPart, status_record


@dataclass(frozen=True, slots=True)
class AutoscalerStatus(StatusPart):
    """A DaskAutoscaler's status."""

    observed_generation: int = row(
        count("observedGeneration", "Generation of the spec that this status is about."), 0
    )
    #: The scheduler's demand within the bounds; ``None`` until its first answer.
    desired: int | None = row(
        count("desired", "Number of workers that the scheduler wants, within the bounds.")
    )
    current: int | None = row(count("current", "Number of workers in the spec of the group."))
    reason: str = row(Text("reason", "Reason for the latest decision, one word."), "")
    message: str = row(
        Text("message", "Human-readable message about the decision."), "", write=shortened_message
    )
    last_scale_time: datetime | None = row(
        Time("lastScaleTime", "Last time that the group was scaled.")
    )
    conditions: Conditions = conditions_row()


AUTOSCALER_STATUS = status_record("Observed state of the autoscaler.", AutoscalerStatus)
autoscaler_status_from = AutoscalerStatus.from_manifest
