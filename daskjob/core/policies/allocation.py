"""The number of workers of a group that are created at once.

One pass creates a limited number, whatever number a user wants. Besides, a thousand pods at once
overload some registries, networks and admission webhooks: the chart's ``workerAllocation`` limits
the number of workers in a batch.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from daskjob.core.decision import MOST_OBJECTS
from daskjob.core.observed import ObservedGroup


def allocated(observed: ObservedGroup, missing: int, now: datetime) -> tuple[int, datetime | None]:
    """Return how many missing workers may be created now, and when more may.

    Recent workers are counted by the creation times of the pods, so that a restart of the operator
    does not start a new batch.
    """
    platform = observed.platform
    if not platform.worker_batch_size:
        return min(missing, MOST_OBJECTS), None if missing <= MOST_OBJECTS else now
    apart = timedelta(seconds=platform.worker_batch_seconds)
    created = (pod.created_at for pod in observed.workers if pod.created_at)
    recent = [moment for moment in created if now < moment + apart]
    free = platform.worker_batch_size - len(recent)
    count = max(0, min(missing, free, MOST_OBJECTS))
    if count == missing:
        return count, None
    return count, now if count < free else min([*recent, now]) + apart
