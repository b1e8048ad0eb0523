"""The names of ``dask_kubernetes.operator``: users change the package's name and nothing else."""

from __future__ import annotations

from daskjob.operator.kubecluster import (
    CreateMode,
    KubeCluster,
    discover,
    make_cluster_spec,
    make_scheduler_spec,
    make_worker_spec,
)

__all__ = [
    "CreateMode",
    "KubeCluster",
    "discover",
    "make_cluster_spec",
    "make_scheduler_spec",
    "make_worker_spec",
]
