"""What dask-kubernetes left behind, and how it is known (design §2.4). No I/O here.

Its clusters have a Deployment for the scheduler and one for each worker, which nobody watches here.
They are known by what is watched: a scheduler's pod under a ReplicaSet, and a status that is not of
ours. Such a cluster works on, and a second scheduler under its Service would be worse than none: it
is left as it is until it is made anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from daskjob.core import names
from daskjob.core.pods import PodFacts
from daskjob.core.status import ClusterPhase, ClusterStatus

#: The reason of the condition of a cluster, or a group, that is left as it is.
MADE_BY_DASK_KUBERNETES = "MadeByDaskKubernetes"


def deployed(pods: Iterable[PodFacts], cluster: str) -> tuple[PodFacts, ...]:
    """Return the pods that a Deployment named as a cluster's scheduler has made."""
    prefix = f"{names.scheduler_pod_name(cluster)}-"
    return tuple(
        pod for pod in pods if pod.owner_kind == "ReplicaSet" and pod.owner_name.startswith(prefix)
    )


def unmanaged(
    status: ClusterStatus, created_at: datetime | None, schedulers: Iterable[PodFacts]
) -> bool:
    """Say whether a cluster, with these ``deployed`` schedulers, is dask-kubernetes' own.

    Once that was told it stays so, whatever becomes of the Deployment: it may have no pod for a
    moment. A scheduler that is older than the cluster is that of an earlier one, and about to go.
    """
    if any(condition.reason == MADE_BY_DASK_KUBERNETES for condition in status.conditions):
        return True
    if status.observed_generation:
        # Every status of ours tells of a generation: the cluster was ours from its start.
        return False
    if status.phase not in (None, ClusterPhase.CREATED):
        return True
    return any(not pod.deleting and not _is_older(pod, created_at) for pod in schedulers)


def _is_older(pod: PodFacts, moment: datetime | None) -> bool:
    return pod.created_at is not None and moment is not None and pod.created_at < moment
