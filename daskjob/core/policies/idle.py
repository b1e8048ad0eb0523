"""When an idle cluster is deleted.

Unreachable is not idle: only the scheduler's own report counts, and never while a runner that uses
the cluster is alive (design §5.2).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from daskjob.core.observed import ObservedCluster


def idle_until(observed: ObservedCluster) -> datetime | None:
    """Return when the cluster's idle timeout is reached; ``None`` if it is not idle."""
    limit, dask = observed.cluster.spec.idle_timeout_seconds, observed.dask
    if not limit or dask is None or dask.idle_since is None or observed.runner_alive:
        return None
    return dask.idle_since + timedelta(seconds=limit)
