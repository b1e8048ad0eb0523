"""Recognizes clusters that dask-kubernetes created (design §2.4).

They have a Deployment for the scheduler and one for each worker; daskjob does not watch
Deployments. It recognizes them by objects that it watches: a scheduler pod owned by a ReplicaSet,
and a status that daskjob did not write. Such a cluster keeps working, and a second scheduler behind
its Service would be worse than none, so daskjob leaves it alone until it is recreated.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from daskjob.core import names
from daskjob.core.pods import PodFacts
from daskjob.core.status import ClusterPhase, ClusterStatus

#: The condition's reason for a cluster, or a group, that is left alone.
MADE_BY_DASK_KUBERNETES = "MadeByDaskKubernetes"


def deployed(pods: Iterable[PodFacts], cluster: str) -> tuple[PodFacts, ...]:
    """Return the pods of a Deployment that is named like the cluster's scheduler."""
    prefix = f"{names.scheduler_pod_name(cluster)}-"
    return tuple(
        pod for pod in pods if pod.owner_kind == "ReplicaSet" and pod.owner_name.startswith(prefix)
    )


def unmanaged(
    status: ClusterStatus, created_at: datetime | None, schedulers: Iterable[PodFacts]
) -> bool:
    """Return whether dask-kubernetes runs a cluster with these ``deployed`` schedulers.

    Once reported, this stays true even if the Deployment changes: it may briefly have no pod. A
    scheduler older than the cluster belongs to an earlier one and will be deleted.
    """
    if any(condition.reason == MADE_BY_DASK_KUBERNETES for condition in status.conditions):
        return True
    if status.observed_generation:
        # daskjob always writes a generation: the cluster has been its own from the start.
        return False
    if status.phase not in (None, ClusterPhase.CREATED):
        return True
    return any(not pod.deleting and not _is_older(pod, created_at) for pod in schedulers)


def _is_older(pod: PodFacts, moment: datetime | None) -> bool:
    return pod.created_at is not None and moment is not None and pod.created_at < moment
