"""How many workers of a group come at once. No I/O here.

A thousand pods in one moment are more than some registries, networks and admission webhooks take.
Whoever runs the operator may say how many come together (the chart's ``workerAllocation``).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from daskjob.core.observed import ObservedGroup


def allocated(observed: ObservedGroup, missing: int, now: datetime) -> tuple[int, datetime | None]:
    """Return how many of the missing workers may come now, and when more may.

    What came already is seen by when the pods were created, so that a restart of the operator
    begins no batch anew.
    """
    platform = observed.platform
    if not platform.worker_batch_size:
        return missing, None
    apart = timedelta(seconds=platform.worker_batch_seconds)
    created = (pod.created_at for pod in observed.workers if pod.created_at)
    recent = [moment for moment in created if now < moment + apart]
    count = max(0, min(missing, platform.worker_batch_size - len(recent)))
    return count, None if count == missing else min([*recent, now]) + apart
