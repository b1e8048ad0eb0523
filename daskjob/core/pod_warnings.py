"""Warnings about stuck pods that only Kubernetes' Events report, not the pods' status.

A pod whose volume cannot be mounted, or that gets no network, stays ``ContainerCreating``
indefinitely, without a message. A backend reads the Events of the pods that ``silent_pods``
returns, picks one with ``latest_warning``, and adds it to the facts with ``with_warnings``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from daskjob.core.diagnose import SILENT_SECONDS, STARTUP_WARNINGS, creating_since
from daskjob.core.manifests import Manifest, metadata, parse_time
from daskjob.core.observed import (
    Observed,
    ObservedAutoscaler,
    ObservedCluster,
    ObservedGroup,
    ObservedJob,
)
from daskjob.core.pods import PodFacts

#: How long a warning is valid: a problem that persists is reported again within two minutes.
FRESH_SECONDS = 300


@dataclass(frozen=True, slots=True)
class PodWarning:
    """The latest warning about a pod."""

    #: Kubernetes' reason: ``FailedMount``, ``FailedCreatePodSandBox``.
    reason: str
    message: str
    at: datetime


def silent_pods(observed: Observed, now: datetime) -> tuple[PodFacts, ...]:
    """Return the pods whose Events should be read: their nodes are taking too long to create them.

    Workers of a group are alike, so one of them is enough.
    """
    match observed:
        case ObservedJob():
            runner = observed.runner(observed.status.attempt)
            singles, workers = [runner, observed.scheduler], observed.workers
        case ObservedCluster():
            singles, workers = [observed.scheduler], ()
        case ObservedGroup():
            singles, workers = [], observed.workers
        case ObservedAutoscaler():
            # Its group reports whether the workers start.
            return ()
    silent = [pod for pod in singles if pod is not None and _is_silent(pod, now)]
    others = sorted((pod for pod in workers if _is_silent(pod, now)), key=lambda pod: pod.ref.name)
    return (*silent, *others[:1])


def _is_silent(pod: PodFacts, now: datetime) -> bool:
    since = creating_since(pod)
    return since is not None and now >= since + timedelta(seconds=SILENT_SECONDS)


def latest_warning(events: Iterable[Manifest], now: datetime) -> PodWarning | None:
    """Return the latest of a pod's Events that explains why its start is stuck.

    Events may be of either API group: ``v1`` or ``events.k8s.io/v1``. Old ones do not count: the
    problem may be solved, and the node may be pulling the image.
    """
    since = now - timedelta(seconds=FRESH_SECONDS)
    found = [(warnings, order) for warnings, order in _warnings(events) if warnings.at >= since]
    # Times are whole seconds. Within one, a kubelet first reports that it knows nothing about a
    # volume yet, then the actual error: of the same second, the one written last is the latest.
    latest = max(found, key=lambda one: (one[0].at, one[1]), default=None)
    return None if latest is None else latest[0]


def _warnings(events: Iterable[Manifest]) -> Iterator[tuple[PodWarning, int]]:
    """Yield the relevant warnings, each with its position in the order of writes."""
    for event in events:
        reason, at = event.get("reason"), _last_seen_at(event)
        if event.get("type") == "Warning" and reason in STARTUP_WARNINGS and at is not None:
            message = event.get("message") or event.get("note") or ""
            version = str(metadata(event).get("resourceVersion", ""))
            order = int(version) if version.isdecimal() else 0
            yield PodWarning(str(reason), str(message), at), order


def _last_seen_at(event: Manifest) -> datetime | None:
    """Return when an Event last occurred; a repeated one is updated with a later time."""
    series = event.get("series") or {}
    times = (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("deprecatedLastTimestamp"),
        event.get("eventTime"),
        metadata(event).get("creationTimestamp"),
    )
    moments = [moment for text in times if (moment := parse_time(text)) is not None]
    return max(moments, default=None)


def with_warnings(observed: Observed, warnings: Mapping[str, PodWarning]) -> Observed:
    """Return the observed state with warnings added to its pods, by the pod's uid."""
    if not warnings:
        return observed
    match observed:
        case ObservedJob():
            return replace(
                observed,
                runners=tuple(_with_warning(pod, warnings) for pod in observed.runners),
                scheduler=_with_warning_or_none(observed.scheduler, warnings),
                workers=tuple(_with_warning(pod, warnings) for pod in observed.workers),
            )
        case ObservedCluster():
            return replace(observed, scheduler=_with_warning_or_none(observed.scheduler, warnings))
        case ObservedGroup():
            workers = tuple(_with_warning(pod, warnings) for pod in observed.workers)
            return replace(observed, workers=workers)
        case ObservedAutoscaler():
            return observed


def _with_warning(pod: PodFacts, warnings: Mapping[str, PodWarning]) -> PodFacts:
    found = warnings.get(pod.ref.uid)
    return replace(pod, warnings=((found.reason, found.message),)) if found else pod


def _with_warning_or_none(
    pod: PodFacts | None, warnings: Mapping[str, PodWarning]
) -> PodFacts | None:
    return None if pod is None else _with_warning(pod, warnings)
