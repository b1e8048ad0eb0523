"""When an idle cluster is deleted.

Unreachable is not idle: only the scheduler's own report counts, and never while a job that uses
the cluster has not ended (design §5.2). A cluster that was idle may have been given work since, so
only a fresh answer ends it (design §4.10).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from daskjob.core.observed import ObservedCluster

#: How old an answer may be when a cluster is deleted because of it.
FRESH_SECONDS = 5
#: How soon a cluster whose timeout is reached is checked again for a fresh answer.
LOOK_SECONDS = 2


def is_idle(observed: ObservedCluster, now: datetime) -> bool:
    """Return whether the cluster's idle timeout is reached, by an answer of now."""
    due, dask = _due_at(observed), observed.dask
    if due is None or dask is None or dask.at is None:
        return False
    return dask.at >= due and now - dask.at <= timedelta(seconds=FRESH_SECONDS)


def must_ask(observed: ObservedCluster, now: datetime) -> bool:
    """Return whether the timeout is reached by the last answer, which may be out of date."""
    due = _due_at(observed)
    return due is not None and now >= due and not is_idle(observed, now)


def next_look(observed: ObservedCluster, now: datetime) -> datetime | None:
    """Return when the timeout may be reached; ``None`` while the cluster has work."""
    limit = observed.cluster.spec.idle_timeout_seconds
    if limit and observed.in_use:
        return now + timedelta(seconds=limit)
    due = _due_at(observed)
    return None if due is None else max(due, now + timedelta(seconds=LOOK_SECONDS))


def _due_at(observed: ObservedCluster) -> datetime | None:
    limit, dask = observed.cluster.spec.idle_timeout_seconds, observed.dask
    if not limit or dask is None or dask.idle_since is None or observed.in_use:
        return None
    return dask.idle_since + timedelta(seconds=limit)
