"""The objects to delete when a job, or an attempt, has ended.

Nothing is deleted before the end is persisted (design §4.3): these functions read the stored
status, not the one that this pass will write.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from daskjob.core.job_view import JobView
from daskjob.core.manifests import ObjectRef
from daskjob.core.pods import PodFacts
from daskjob.core.spec.policy import Deletion, Restart

#: How long a runner may take to end after it was asked to, before it is deleted.
STOP_SECONDS = 90
#: How long a pod may take to end after its main container. Only a sidecar makes it take longer;
#: stopping every runner right away would waste a request.
SIDECAR_SECONDS = 5
#: How long a script that was stopped keeps its cluster: longer than the grace period of a submitted
#: script's pod. One that ignores SIGTERM must not keep workers for long.
LAST_WORDS_SECONDS = 15
#: How long to wait for objects that block a new attempt, before the job fails.
BLOCKED_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Cleanup:
    """Runners to stop (their logs stay), objects to delete, a cluster whose workers to delete."""

    stop: tuple[ObjectRef, ...] = ()
    delete: tuple[ObjectRef, ...] = ()
    strip: ObjectRef | None = None


def after_job(view: JobView) -> Cleanup:
    """Return what to remove after the job's end; the runner pod is kept with the job."""
    stops, deletes = _runners(view.observed.runners, view.now, view.status.end_time)
    cluster = view.observed.cluster
    if cluster is None or view.job.cluster_ref:
        return Cleanup(stops, deletes)
    if _needs_scheduler(view, view.observed.runners, view.status.end_time):
        return Cleanup(stops, deletes)
    policy = view.policy
    deletion = policy.on_success if view.status.succeeded else policy.on_failure
    if deletion is Deletion.DELETE_CLUSTER and not cluster.deleting:
        return Cleanup(stops, (*deletes, cluster.ref))
    if deletion is Deletion.DELETE_WORKERS and not cluster.deletes_workers:
        return Cleanup(stops, deletes, strip=cluster.ref)
    return Cleanup(stops, deletes)


def after_attempt(view: JobView) -> Cleanup:
    """Return the parts of earlier attempts to remove before the next one starts."""
    ended = view.status.attempts[-1].end_time if view.status.attempts else None
    stops, deletes = _runners(view.earlier_runners, view.now, ended)
    cluster = view.observed.cluster
    if cluster is None or view.job.cluster_ref or cluster.deleting:
        return Cleanup(stops, deletes)
    if _needs_scheduler(view, view.earlier_runners, ended):
        return Cleanup(stops, deletes)
    other_attempt = cluster.attempt != view.status.attempt
    fresh = view.policy.restart is Restart.CLUSTER
    if other_attempt and (fresh or view.observed.status.suspended):
        return Cleanup(stops, (*deletes, cluster.ref))
    return Cleanup(stops, deletes)


def in_the_way(view: JobView) -> list[str]:
    """Return the names of objects that must be gone before the next attempt may start."""
    things = [f"pod {pod.ref.name}" for pod in view.earlier_runners if pod.alive]
    if view.cluster_is_stale and view.observed.cluster:
        things.append(f"DaskCluster {view.observed.cluster.ref.name}")
    if view.cluster is None:
        things += [f"{ref.kind} {ref.name}" for ref in view.observed.leftovers]
    return things


def blocked_until(view: JobView) -> datetime | None:
    """Return when waiting for objects of an earlier attempt, or of another job, is given up."""
    since = blocked_since(view)
    return None if since is None else since + timedelta(seconds=BLOCKED_SECONDS)


def blocked_since(view: JobView) -> datetime | None:
    """Return since when the attempt has been blocked, if it is."""
    moments = [view.status.start_time, view.status.attempt_start_time]
    if view.status.attempts:
        moments.append(view.status.attempts[-1].end_time)
    return max((moment for moment in moments if moment is not None), default=None)


def _needs_scheduler(view: JobView, runners: tuple[PodFacts, ...], ended: datetime | None) -> bool:
    """Return whether a script that was stopped needs its scheduler to end in order.

    Without it, its client prints an error for each of its futures, which hides the script's own
    output.
    """
    if ended is None or view.now >= ended + timedelta(seconds=LAST_WORDS_SECONDS):
        return False
    scheduler = view.observed.scheduler
    if scheduler is None or not scheduler.ready or scheduler.deleting:
        return False
    return any(pod.alive and pod.main is not None and pod.main.running for pod in runners)


def _runners(
    runners: tuple[PodFacts, ...], now: datetime, ended: datetime | None
) -> tuple[tuple[ObjectRef, ...], tuple[ObjectRef, ...]]:
    """Return the runners to stop and those to delete.

    A running one is stopped, so that its log stays. One without a node has no log, and no kubelet
    to stop it, so it is deleted; so is one that does not stop in time.
    """
    alive = [pod for pod in runners if pod.alive and not pod.deleting]
    overdue = ended is not None and now >= ended + timedelta(seconds=STOP_SECONDS)
    just_ended = ended is not None and now < ended + timedelta(seconds=SIDECAR_SECONDS)
    alive = [pod for pod in alive if not (just_ended and pod.main and pod.main.terminated)]
    delete = [pod for pod in alive if not pod.scheduled or (pod.stop_asked and overdue)]
    stop = [pod for pod in alive if pod.scheduled and not pod.stop_asked]
    return tuple(pod.ref for pod in stop), tuple(pod.ref for pod in delete)
