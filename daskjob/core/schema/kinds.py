"""Our four kinds in the API, apart from their fields: names, columns, scaling."""

from __future__ import annotations

from dataclasses import dataclass

from daskjob.core.names import Kind
from daskjob.core.shapes import Record
from daskjob.core.spec import autoscaler, cluster, group, job
from daskjob.core.status import AUTOSCALER_STATUS, CLUSTER_STATUS, GROUP_STATUS, JOB_STATUS


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``: one field, unchanged."""

    name: str
    path: str
    type: str = "string"
    #: Only with ``-o wide``.
    wide: bool = False


@dataclass(frozen=True, slots=True)
class KindSchema:
    """One of our kinds, as its CustomResourceDefinition declares it."""

    kind: Kind
    description: str
    spec: Record
    status: Record
    columns: tuple[Column, ...]
    short_names: tuple[str, ...] = ()
    #: Whether ``kubectl scale`` and a HorizontalPodAutoscaler set ``spec.worker.replicas``.
    scaled: bool = False


AGE = Column("Age", ".metadata.creationTimestamp", "date")

JOB = KindSchema(
    Kind.JOB,
    "Runs a pod to completion on a Dask cluster.",
    job.SPEC,
    JOB_STATUS,
    (
        Column("Status", ".status.jobStatus"),
        Column("Reason", ".status.reason"),
        Column("Progress", ".status.summary.progress"),
        Column("Workers", ".status.summary.workers"),
        Column("Attempts", ".status.summary.attempts", "integer"),
        AGE,
        Column("Cluster", ".status.clusterName", wide=True),
        Column("Runner", ".status.jobRunnerPodName", wide=True),
        Column("Exit", ".status.exitCode", "integer", wide=True),
    ),
    short_names=("djb",),
)

CLUSTER = KindSchema(
    Kind.CLUSTER,
    "A Dask scheduler, its Service, and worker groups.",
    cluster.SPEC,
    CLUSTER_STATUS,
    (
        Column("Workers", ".spec.worker.replicas", "integer"),
        Column("Ready", ".status.readyReplicas", "integer"),
        Column("Status", ".status.phase"),
        AGE,
    ),
    short_names=("daskcluster", "dsk"),
    scaled=True,
)

GROUP = KindSchema(
    Kind.GROUP,
    "Workers from one pod template that join a DaskCluster.",
    group.SPEC,
    GROUP_STATUS,
    (
        Column("Cluster", ".spec.cluster"),
        Column("Workers", ".spec.worker.replicas", "integer"),
        Column("Ready", ".status.readyReplicas", "integer"),
        AGE,
    ),
    short_names=("daskworkers",),
    scaled=True,
)

AUTOSCALER = KindSchema(
    Kind.AUTOSCALER,
    "Scales a worker group to the scheduler's demand.",
    autoscaler.SPEC,
    AUTOSCALER_STATUS,
    (
        Column("Cluster", ".spec.cluster"),
        Column("Minimum", ".spec.minimum", "integer"),
        Column("Maximum", ".spec.maximum", "integer"),
        Column("Desired", ".status.desired", "integer"),
        AGE,
    ),
)

KINDS = (JOB, CLUSTER, GROUP, AUTOSCALER)
