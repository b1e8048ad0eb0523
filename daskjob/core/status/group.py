"""A DaskWorkerGroup's status. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from daskjob.core.manifests import Manifest, format_time, parse_time, without_nones
from daskjob.core.shapes import Record, Text, Time, count
from daskjob.core.status.conditions import CONDITIONS, Conditions, condition_from
from daskjob.core.status.values import integer, mappings, text

GROUP_STATUS = Record(
    "status",
    "What is told of the group.",
    (
        count("observedGeneration", "The generation of the spec that this speaks of."),
        count("replicas", "The worker pods."),
        count("readyReplicas", "Those of them that are ready."),
        Text("selector", "The labels of the worker pods."),
        count("failures", "Workers that ended one after the other."),
        Time("lastFailureTime", "When the last of them ended."),
        Time("updatedAt", "When this was written last."),
        CONDITIONS,
    ),
    open=True,
)


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """A DaskWorkerGroup's status."""

    observed_generation: int = 0
    replicas: int = 0
    ready_replicas: int = 0
    selector: str = ""
    #: Workers that ended for good one after the other, without one that stayed; for the back-off.
    failures: int = 0
    last_failure_time: datetime | None = None
    #: When this was written last.
    updated_at: datetime | None = None
    conditions: Conditions = ()

    def to_manifest(self) -> Manifest:
        """Return the status as the API holds it."""
        return without_nones(
            {
                "observedGeneration": self.observed_generation or None,
                "replicas": self.replicas,
                "readyReplicas": self.ready_replicas,
                "selector": self.selector or None,
                "failures": self.failures or None,
                "lastFailureTime": format_time(self.last_failure_time),
                "updatedAt": format_time(self.updated_at),
                "conditions": [c.to_manifest() for c in self.conditions] or None,
            }
        )


def group_status_from(manifest: Mapping[str, object] | None) -> GroupStatus:
    """Return a group's status from what the API holds; nonsense counts as absent."""
    raw = manifest or {}
    return GroupStatus(
        observed_generation=integer(raw, "observedGeneration"),
        replicas=integer(raw, "replicas"),
        ready_replicas=integer(raw, "readyReplicas"),
        selector=text(raw, "selector"),
        failures=integer(raw, "failures"),
        last_failure_time=parse_time(raw.get("lastFailureTime")),
        updated_at=parse_time(raw.get("updatedAt")),
        conditions=tuple(condition_from(item) for item in mappings(raw, "conditions")),
    )
