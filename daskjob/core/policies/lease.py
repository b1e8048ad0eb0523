"""When a cluster is deleted because its client is gone.

The client that made it renews its lease, an annotation, every third of the duration; a killed
kernel does not. As with idleness, a cluster stays while a job that uses it has not ended. It also
stays until the operator has followed the clusters for half the duration: after an outage of the API
server all leases look expired, and the clients need time to renew them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from daskjob.core import names
from daskjob.core.manifests import parse_time, whole_number
from daskjob.core.observed import ObservedCluster

#: A longer one is a mistake: no datetime has its end.
LONGEST_SECONDS = 10 * 365 * 24 * 3600
#: The part of its duration for which a cluster is followed, at least, before its lease counts: a
#: client renews every third.
_FOLLOWED = 0.5


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease of a cluster, or what is wrong with it."""

    seconds: int = 0
    renewed_at: datetime | None = None
    mistake: str = ""


def lease_of(observed: ObservedCluster) -> Lease | None:
    """Return the lease of a cluster; ``None``: it has none. The cluster of a job never has one."""
    meta = observed.cluster.meta
    if names.ANNOTATION_LEASE_DURATION not in meta.annotations:
        return None
    if meta.owner_kind == names.Kind.JOB:
        return None
    return _read(meta.annotations, meta.created_at)


def _read(annotations: Mapping[str, str], created_at: datetime | None) -> Lease:
    duration = annotations[names.ANNOTATION_LEASE_DURATION]
    seconds = whole_number(duration)
    if seconds is None or not 0 < seconds <= LONGEST_SECONDS:
        return Lease(mistake=_mistake(names.ANNOTATION_LEASE_DURATION, duration, "whole seconds"))
    renewal = annotations.get(names.ANNOTATION_LEASE_RENEW_TIME)
    renewed_at = created_at if renewal is None else parse_time(renewal)
    if renewed_at is None:
        wanted = "a time such as 2026-01-01T12:00:00Z"
        mistake = _mistake(names.ANNOTATION_LEASE_RENEW_TIME, renewal or "", wanted)
        return Lease(mistake=mistake)
    return Lease(seconds, renewed_at)


def _mistake(annotation: str, value: str, wanted: str) -> str:
    return (
        f"the annotation {annotation} is {value[:80]!r}, not {wanted}: the cluster has no lease, "
        "and is not deleted when its client is gone."
    )


def has_expired(observed: ObservedCluster, now: datetime) -> bool:
    """Return whether the lease has expired."""
    due = _due_at(observed)
    return due is not None and not observed.in_use and now >= due


def next_look(observed: ObservedCluster, now: datetime) -> datetime | None:
    """Return when the lease may expire; ``None``: there is none."""
    due, lease = _due_at(observed), lease_of(observed)
    if due is None or lease is None:
        return None
    return now + timedelta(seconds=lease.seconds) if observed.in_use else due


def expired_message(observed: ObservedCluster) -> str:
    """Return the message of the deletion."""
    lease = lease_of(observed)
    assert lease is not None
    return (
        f"the client that created the cluster has not renewed its lease for {lease.seconds} s: it "
        "ended without closing the cluster, which is deleted."
    )


def _due_at(observed: ObservedCluster) -> datetime | None:
    lease = lease_of(observed)
    if lease is None or lease.renewed_at is None:
        return None
    due = lease.renewed_at + timedelta(seconds=lease.seconds)
    if observed.followed_since is None:
        return due
    return max(due, observed.followed_since + timedelta(seconds=lease.seconds * _FOLLOWED))
