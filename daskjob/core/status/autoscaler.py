"""A DaskAutoscaler's status. No I/O here."""

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
        count("observedGeneration", "The generation of the spec that this speaks of."), 0
    )
    #: What the scheduler wants within the bounds; ``None`` until it was asked.
    desired: int | None = row(count("desired", "How many workers the group is to have."))
    current: int | None = row(count("current", "How many its spec asks for."))
    reason: str = row(Text("reason", "Why the two are as they are, in a word."), "")
    message: str = row(Text("message", "The same in a sentence."), "", write=shortened_message)
    last_scale_time: datetime | None = row(Time("lastScaleTime", "When the group was last scaled."))
    conditions: Conditions = conditions_row()


AUTOSCALER_STATUS = status_record("What is told of the autoscaler.", AutoscalerStatus)
autoscaler_status_from = AutoscalerStatus.from_manifest
