"""The names of ``dask_kubernetes.operator.kubecluster.kubecluster``."""

from __future__ import annotations

from daskjob.kubecluster.cluster import KubeCluster
from daskjob.kubecluster.create_mode import CreateMode
from daskjob.kubecluster.specs import make_cluster_spec, make_scheduler_spec, make_worker_spec

__all__ = [
    "CreateMode",
    "KubeCluster",
    "make_cluster_spec",
    "make_scheduler_spec",
    "make_worker_spec",
]
