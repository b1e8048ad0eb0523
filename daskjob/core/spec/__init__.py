"""The specs of our kinds as frozen dataclasses: parsed, defaulted, validated."""

from daskjob.core.spec.autoscaler import DaskAutoscaler, read_autoscaler
from daskjob.core.spec.cluster import ClusterSpec, DaskCluster, read_cluster
from daskjob.core.spec.group import (
    Autoscaling,
    DaskWorkerGroup,
    GroupSpec,
    UpdateStrategy,
    read_group,
)
from daskjob.core.spec.job import DaskJob, read_job
from daskjob.core.spec.meta import Meta
from daskjob.core.spec.parse import CLASSES, parse, read
from daskjob.core.spec.pod import PodTemplate
from daskjob.core.spec.policy import Policy

__all__ = [
    "CLASSES",
    "Autoscaling",
    "ClusterSpec",
    "DaskAutoscaler",
    "DaskCluster",
    "DaskJob",
    "DaskWorkerGroup",
    "GroupSpec",
    "Meta",
    "PodTemplate",
    "Policy",
    "UpdateStrategy",
    "parse",
    "read",
    "read_autoscaler",
    "read_cluster",
    "read_group",
    "read_job",
]
