"""The names of ``dask_kubernetes.operator.kubecluster``."""

from __future__ import annotations

from daskjob.dask_tools.discovery import discover
from daskjob.operator.kubecluster.kubecluster import (
    CreateMode,
    KubeCluster,
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
