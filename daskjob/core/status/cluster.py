"""A DaskCluster's status. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from daskjob.core.manifests import Manifest, format_time, parse_time, without_nones
from daskjob.core.shapes import Choice, Record, Text, Time, count
from daskjob.core.status.conditions import CONDITIONS, Conditions, condition_from
from daskjob.core.status.values import integer, mappings, optional_integer, text


class ClusterPhase(StrEnum):
    """The words of a cluster's ``status.phase``."""

    CREATED = "Created"
    PENDING = "Pending"
    RUNNING = "Running"
    ERROR = "Error"


CLUSTER_STATUS = Record(
    "status",
    "What is told of the cluster.",
    (
        count("observedGeneration", "The generation of the spec that this speaks of."),
        Choice("phase", "One word for the cluster.", ClusterPhase, or_empty=True),
        count("replicas", "The worker pods of the default group."),
        count("readyReplicas", "Those of them that are ready."),
        count("syncedReplicas", "The count that the cluster and its default group last agreed on."),
        count("schedulerFailures", "Schedulers that ended one after the other."),
        Time("lastFailureTime", "When the last of them ended."),
        Text("schedulerAddress", "Where workers and clients connect to."),
        Text("dashboardURL", "Where the dashboard is."),
        Text("selector", "The labels of the default group's worker pods."),
        Time("updatedAt", "When this was written last."),
        CONDITIONS,
    ),
    open=True,
)


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """A DaskCluster's status."""

    observed_generation: int = 0
    phase: ClusterPhase | None = None
    replicas: int = 0
    ready_replicas: int = 0
    #: The merge base of the cluster's and the default group's counts (design §4a).
    synced_replicas: int | None = None
    #: Schedulers that ended for good one after the other; for the back-off.
    scheduler_failures: int = 0
    last_failure_time: datetime | None = None
    scheduler_address: str = ""
    dashboard_url: str = ""
    selector: str = ""
    #: When this was written last.
    updated_at: datetime | None = None
    conditions: Conditions = ()

    def to_manifest(self) -> Manifest:
        """Return the status as the API holds it."""
        return without_nones(
            {
                "observedGeneration": self.observed_generation or None,
                "phase": str(self.phase) if self.phase else None,
                "replicas": self.replicas,
                "readyReplicas": self.ready_replicas,
                "syncedReplicas": self.synced_replicas,
                "schedulerFailures": self.scheduler_failures or None,
                "lastFailureTime": format_time(self.last_failure_time),
                "schedulerAddress": self.scheduler_address or None,
                "dashboardURL": self.dashboard_url or None,
                "selector": self.selector or None,
                "updatedAt": format_time(self.updated_at),
                "conditions": [c.to_manifest() for c in self.conditions] or None,
            }
        )


def cluster_status_from(manifest: Mapping[str, object] | None) -> ClusterStatus:
    """Return a cluster's status from what the API holds; nonsense counts as absent."""
    raw = manifest or {}
    phase = raw.get("phase")
    return ClusterStatus(
        observed_generation=integer(raw, "observedGeneration"),
        phase=ClusterPhase(phase) if phase in [str(p) for p in ClusterPhase] else None,
        replicas=integer(raw, "replicas"),
        ready_replicas=integer(raw, "readyReplicas"),
        synced_replicas=optional_integer(raw, "syncedReplicas"),
        scheduler_failures=integer(raw, "schedulerFailures"),
        last_failure_time=parse_time(raw.get("lastFailureTime")),
        scheduler_address=text(raw, "schedulerAddress"),
        dashboard_url=text(raw, "dashboardURL"),
        selector=text(raw, "selector"),
        updated_at=parse_time(raw.get("updatedAt")),
        conditions=tuple(condition_from(item) for item in mappings(raw, "conditions")),
    )
