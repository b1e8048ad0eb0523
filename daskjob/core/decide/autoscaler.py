"""Decisions about a DaskAutoscaler: the count of its group, and the autoscaler's status.

It writes only the count of its group: a cluster that has the same count follows by its own pass
(design §4a). Deleting an autoscaler leaves the group unchanged.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from daskjob.core import names
from daskjob.core.decide.status_timing import PATIENCE
from daskjob.core.decision import NOTHING, Decision, Patch, earliest
from daskjob.core.demand import Demand
from daskjob.core.manifests import whole_seconds
from daskjob.core.observed import ObservedAutoscaler
from daskjob.core.policies.autoscaling import Autoscale, ScalingReason, autoscale
from daskjob.core.spec import DaskWorkerGroup
from daskjob.core.status import (
    AutoscalerStatus,
    Condition,
    ConditionType,
    find_condition,
    with_condition,
)
from daskjob.core.upstream import MADE_BY_DASK_KUBERNETES
from daskjob.core.worker_command import workers_per_pod

#: Reasons of the condition ``ScalingActive`` for a group that does not follow its scheduler.
INVALID_SPEC = "InvalidSpec"
CLUSTER_MISSING = "ClusterMissing"
GROUP_MISSING = "GroupMissing"
#: The group belongs to another cluster than the autoscaler.
GROUP_ELSEWHERE = "GroupOfAnotherCluster"
#: An older autoscaler scales the same group.
ANOTHER_AUTOSCALER = "AnotherAutoscaler"
SCHEDULER_MISSING = "SchedulerMissing"
SCHEDULER_SILENT = "SchedulerUnreachable"
#: The scheduler responds, but its response does not contain this group.
NO_TARGET = "NoTarget"
#: Problems that may be part of a start; reported only if they persist.
_STARTS = (GROUP_MISSING, SCHEDULER_MISSING, SCHEDULER_SILENT)


def decide_autoscaler(observed: ObservedAutoscaler, now: datetime) -> Decision:
    """Return the writes that a pass over an autoscaler should make."""
    if _is_terminating(observed):
        return NOTHING
    problem = _problem(observed)
    if problem is not None:
        return _held(observed, *problem, now)
    group, demand = observed.group, observed.demand
    if group is None or demand is None:
        # The scheduler has not been polled since this operator started: keep the status.
        return NOTHING
    return _scaled(observed, group, demand, now)


def _is_terminating(observed: ObservedAutoscaler) -> bool:
    """Return whether it is being deleted, or will be by garbage collection with its cluster."""
    meta, cluster = observed.autoscaler.meta, observed.cluster
    if meta.deleting or (cluster is not None and cluster.meta.deleting):
        return True
    joined = [
        owner.get("uid")
        for owner in meta.owner_references
        if owner.get("kind") == names.Kind.CLUSTER
        and owner.get("name") == observed.autoscaler.cluster
    ]
    return bool(joined) and (cluster is None or cluster.meta.uid not in joined)


def _problem(observed: ObservedAutoscaler) -> tuple[str, str] | None:
    """Return why the group does not follow the scheduler, as reason and message."""
    autoscaler, group, scheduler = observed.autoscaler, observed.group, observed.scheduler
    if observed.mistakes:
        return INVALID_SPEC, "; ".join(str(mistake) for mistake in observed.mistakes)
    cluster, name = f"DaskCluster {autoscaler.cluster}", autoscaler.group_name
    if observed.cluster is None:
        return CLUSTER_MISSING, f"{cluster} does not exist; the autoscaler is waiting for it."
    if observed.unmanaged:
        return MADE_BY_DASK_KUBERNETES, (
            f"dask-kubernetes created the scheduler of {cluster}; daskjob scales nothing until the "
            "cluster is deleted and created again."
        )
    if group is None or group.meta.deleting:
        return (
            GROUP_MISSING,
            f"DaskWorkerGroup {name} does not exist; the autoscaler is waiting for it.",
        )
    if group.cluster != autoscaler.cluster:
        return GROUP_ELSEWHERE, (
            f"DaskWorkerGroup {name} belongs to DaskCluster {group.cluster}, not "
            f"{autoscaler.cluster}. Correct spec.cluster or spec.workerGroup."
        )
    if observed.older_autoscaler:
        return ANOTHER_AUTOSCALER, (
            f"DaskAutoscaler {observed.older_autoscaler} is older and scales {name}. "
            "Delete one of the two."
        )
    if scheduler is None or scheduler.main is None or not scheduler.main.running:
        return SCHEDULER_MISSING, f"{cluster} has no running scheduler; {name} is not scaled."
    if observed.silent:
        return (
            SCHEDULER_SILENT,
            f"the scheduler of {cluster} does not respond; {name} is not scaled.",
        )
    if observed.dask is not None and observed.demand is None:
        return NO_TARGET, f"the scheduler of {cluster} does not report a demand for {name}."
    return None


def _held(observed: ObservedAutoscaler, reason: str, message: str, now: datetime) -> Decision:
    """Report why the group is not scaled."""
    due = _write_due_at(observed, reason, now)
    if now < due:
        return Decision(wake_at=due)
    status = _with_activity(observed, observed.status, now, active=False, why=(reason, message))
    return _written(observed, status)


def _write_due_at(observed: ObservedAutoscaler, reason: str, now: datetime) -> datetime:
    """Return when a problem is reported: at once, unless it may be part of a start."""
    reported = find_condition(observed.status.conditions, ConditionType.SCALING_ACTIVE)
    if reason not in _STARTS or (reported is not None and reported.reason != CLUSTER_MISSING):
        return now
    made = [observed.autoscaler.meta.created_at]
    made += [observed.cluster.meta.created_at] if observed.cluster else []
    latest = max((moment for moment in made if moment is not None), default=None)
    return now if latest is None else latest + PATIENCE


def _scaled(
    observed: ObservedAutoscaler, group: DaskWorkerGroup, demand: Demand, now: datetime
) -> Decision:
    """Set the group's count from the demand, at least an interval after the last change.

    Only the time of that change must be remembered. A change by another client is first written to
    the status, so that it holds until the decision after it.
    """
    autoscaler, old, current = observed.autoscaler, observed.status, group.replicas
    active = ("Following", f"{group.meta.name} follows the scheduler.")
    status = _with_activity(observed, old, now, active=True, why=active)
    if old.current is not None and old.current != current:
        status = _scaled_by_others(status, current, now)
    interval = timedelta(seconds=autoscaler.interval_seconds)
    due = status.last_scale_time + interval if status.last_scale_time else now
    if now < due:
        return replace(_written(observed, status), wake_at=due)
    verdict = autoscale(autoscaler, current, demand, now, per_pod=workers_per_pod(group.template))
    decision = _written(observed, _with_verdict(status, current, verdict, now))
    if verdict.count != current:
        body = {"spec": {"worker": {"replicas": verdict.count}}}
        return replace(decision, patch=(Patch(group.meta.ref, body),), wake_at=now + interval)
    moments = demand.changes(autoscaler.scale_down_delay_seconds, autoscaler.scale_up_delay_seconds)
    return replace(decision, wake_at=earliest(moments, now))


def _scaled_by_others(status: AutoscalerStatus, current: int, now: datetime) -> AutoscalerStatus:
    return replace(
        status,
        current=current,
        reason=ScalingReason.SCALED_BY_OTHERS,
        message=f"another client scaled from {status.current} to {current}.",
        last_scale_time=whole_seconds(now),
    )


def _with_verdict(
    status: AutoscalerStatus, current: int, verdict: Autoscale, now: datetime
) -> AutoscalerStatus:
    """Return the status after a decision; one that changes nothing is reported only at first."""
    status = replace(status, desired=verdict.desired, current=verdict.count)
    if verdict.count != current:
        return replace(
            status,
            reason=verdict.reason,
            message=f"{verdict.why}: scaled from {current} to {verdict.count}.",
            last_scale_time=whole_seconds(now),
        )
    if status.reason:
        return status
    return replace(status, reason=verdict.reason, message=f"{verdict.why}: stays at {current}.")


def _with_activity(
    observed: ObservedAutoscaler,
    status: AutoscalerStatus,
    now: datetime,
    *,
    active: bool,
    why: tuple[str, str],
) -> AutoscalerStatus:
    generation = observed.autoscaler.meta.generation
    condition = Condition(ConditionType.SCALING_ACTIVE, active, *why, generation)
    conditions = with_condition(status.conditions, condition, whole_seconds(now))
    return replace(status, observed_generation=generation, conditions=conditions)


def _written(observed: ObservedAutoscaler, status: AutoscalerStatus) -> Decision:
    return NOTHING if status == observed.status else Decision(status=status.to_manifest())
