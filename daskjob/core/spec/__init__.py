"""What users ask for, typed and frozen: parse, default, validate, with every mistake at once."""

from daskjob.core.spec.autoscaler import DaskAutoscaler, parse_autoscaler, read_autoscaler
from daskjob.core.spec.cluster import ClusterSpec, DaskCluster, parse_cluster, read_cluster
from daskjob.core.spec.group import (
    Autoscaling,
    DaskWorkerGroup,
    GroupSpec,
    UpdateStrategy,
    parse_group,
    read_group,
)
from daskjob.core.spec.job import DaskJob, parse_job, read_job
from daskjob.core.spec.meta import Meta
from daskjob.core.spec.pod import PodTemplate
from daskjob.core.spec.policy import Policy

__all__ = [
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
    "parse_autoscaler",
    "parse_cluster",
    "parse_group",
    "parse_job",
    "read_autoscaler",
    "read_cluster",
    "read_group",
    "read_job",
]
