"""A DaskAutoscaler's status. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from daskjob.core.manifests import Manifest, format_time, parse_time, without_nones
from daskjob.core.shapes import Record, Text, Time, count
from daskjob.core.status.conditions import (
    CONDITIONS,
    Conditions,
    condition_from,
    shortened_message,
)
from daskjob.core.status.values import integer, mappings, optional_integer, text

AUTOSCALER_STATUS = Record(
    "status",
    "What is told of the autoscaler.",
    (
        count("observedGeneration", "The generation of the spec that this speaks of."),
        count("desired", "How many workers the group is to have."),
        count("current", "How many its spec asks for."),
        Text("reason", "Why the two are as they are, in a word."),
        Text("message", "The same in a sentence."),
        Time("lastScaleTime", "When the group was last scaled."),
        CONDITIONS,
    ),
    open=True,
)


@dataclass(frozen=True, slots=True)
class AutoscalerStatus:
    """A DaskAutoscaler's status."""

    observed_generation: int = 0
    #: What the scheduler wants within the bounds; ``None`` until it was asked.
    desired: int | None = None
    current: int | None = None
    reason: str = ""
    message: str = ""
    last_scale_time: datetime | None = None
    conditions: Conditions = ()

    def to_manifest(self) -> Manifest:
        """Return the status as the API holds it."""
        return without_nones(
            {
                "observedGeneration": self.observed_generation or None,
                "desired": self.desired,
                "current": self.current,
                "reason": self.reason or None,
                "message": shortened_message(self.message) or None,
                "lastScaleTime": format_time(self.last_scale_time),
                "conditions": [c.to_manifest() for c in self.conditions] or None,
            }
        )


def autoscaler_status_from(manifest: Mapping[str, object] | None) -> AutoscalerStatus:
    """Return an autoscaler's status from what the API holds; nonsense counts as absent."""
    raw = manifest or {}
    return AutoscalerStatus(
        observed_generation=integer(raw, "observedGeneration"),
        desired=optional_integer(raw, "desired"),
        current=optional_integer(raw, "current"),
        reason=text(raw, "reason"),
        message=text(raw, "message"),
        last_scale_time=parse_time(raw.get("lastScaleTime")),
        conditions=tuple(condition_from(item) for item in mappings(raw, "conditions")),
    )
