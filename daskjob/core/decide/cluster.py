"""Decisions about a DaskCluster: its scheduler, Service, groups and status."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from daskjob.core import names
from daskjob.core.decide.cluster_autoscalers import (
    autoscaler_patches,
    missing_autoscalers,
    superfluous_autoscalers,
)
from daskjob.core.decide.cluster_templates import template_patches
from daskjob.core.decide.common import may_try, own_rejections, unmanaged, withdrawn, written
from daskjob.core.decide.status_timing import (
    PATIENCE,
    SETTLED,
    Change,
    compared,
    due_at,
    troubles,
)
from daskjob.core.decision import NOTHING, Decision, Event, Patch, earliest
from daskjob.core.desired.group import worker_group
from daskjob.core.desired.pods import dashboard_url, scheduler_address
from daskjob.core.desired.scheduler import scheduler_pod
from daskjob.core.desired.service import dashboard_port, scheduler_service
from daskjob.core.diagnose import crash_loop, events_due_at, rejected, waiting_for
from daskjob.core.manifests import Manifest, ObjectRef, whole_seconds
from daskjob.core.observed import GroupOfCluster, ObservedCluster, Rejection
from daskjob.core.pods import PodFacts
from daskjob.core.policies import lease
from daskjob.core.policies.idle import is_idle, next_look
from daskjob.core.policies.pacing import next_try
from daskjob.core.policies.replicas import merged_replicas
from daskjob.core.policies.scaling import BACKOFF_LONGEST_SECONDS, replaced_at
from daskjob.core.status import (
    SHUT_DOWN,
    STARTING,
    ClusterPhase,
    ClusterStatus,
    Condition,
    Conditions,
    ConditionType,
    with_condition,
)
from daskjob.core.upstream import MADE_BY_DASK_KUBERNETES
from daskjob.core.values import updated


def decide_cluster(observed: ObservedCluster, now: datetime) -> Decision:
    """Return the writes that a pass over a cluster should make."""
    observed = updated(observed, rejections=_own_rejections(observed))
    cluster = observed.cluster
    if cluster.meta.deleting:
        return NOTHING
    if observed.unmanaged:
        return _unmanaged(observed, now)
    if is_idle(observed, now):
        return Decision(delete=(cluster.meta.ref,))
    if lease.has_expired(observed, now):
        event = Event("LeaseExpired", lease.expired_message(observed))
        return Decision(delete=(cluster.meta.ref,), events=(event,))
    replicas, patches = _counts(observed)
    status = _reported_status(observed, replicas, now)
    create = () if observed.mistakes else _missing(observed, now)
    waits: list[datetime | None] = [next_try(r) for r in observed.rejections.values()]
    waits += [moment] if (moment := _scheduler_due(status)) else []
    waits += [events_due_at(observed.scheduler, now)] if observed.scheduler else []
    at_work = bool(patches) or _is_at_work(observed)
    due = _write_due_at(observed, status, at_work=at_work, now=now)
    waits += [due] if status != observed.status else []
    return Decision(
        status=written(observed.status, status, due, now),
        create=tuple(m for m in create if may_try(observed.rejections, m, now)),
        delete=_superfluous(observed),
        patch=(*patches, *template_patches(observed), *autoscaler_patches(observed)),
        withdrawn=withdrawn(observed.rejections, create),
        events=_lease_events(observed),
        wake_at=earliest([next_look(observed, now), lease.next_look(observed, now), *waits], now),
    )


def _lease_events(observed: ObservedCluster) -> tuple[Event, ...]:
    """Return a warning about a lease that cannot be read."""
    found = lease.lease_of(observed)
    if found is None or not found.mistake:
        return ()
    return (Event("InvalidLease", found.mistake, warning=True),)


def _unmanaged(observed: ObservedCluster, now: datetime) -> Decision:
    """Report the state of a cluster of dask-kubernetes; nothing else is written."""
    cluster, old = observed.cluster, observed.status
    answers = any(pod.ready for pod in observed.deployed)
    condition = Condition(
        ConditionType.SCHEDULER_READY,
        answers,
        MADE_BY_DASK_KUBERNETES,
        "dask-kubernetes created the scheduler as a Deployment; daskjob neither scales nor repairs "
        "this cluster. To have daskjob manage it, delete the DaskCluster and create it again.",
        cluster.meta.generation,
    )
    status = replace(
        old,
        observed_generation=cluster.meta.generation,
        phase=ClusterPhase.RUNNING if answers else old.phase or ClusterPhase.PENDING,
        conditions=with_condition(old.conditions, condition, whole_seconds(now)),
    )
    return unmanaged(old, status, now)


def _own_rejections(observed: ObservedCluster) -> dict[str, Rejection]:
    if not observed.rejections:
        return {}
    name = observed.cluster.meta.name
    own = {
        f"Pod/{names.scheduler_pod_name(name)}",
        f"Service/{names.scheduler_service_name(name)}",
    }
    for group in observed.cluster.spec.all_groups:
        own.add(f"{names.Kind.GROUP}/{names.group_name(name, group.name)}")
        own.add(f"{names.Kind.AUTOSCALER}/{names.autoscaler_name(name, group.name)}")
    return own_rejections(observed.rejections, own)


def _missing(observed: ObservedCluster, now: datetime) -> tuple[Manifest, ...]:
    """Return the cluster's missing objects.

    All are created at once: the groups' own passes create no worker before the scheduler pod and
    the Service exist.
    """
    cluster, found = observed.cluster, []
    due = _scheduler_due(observed.status)
    waits = bool(observed.deployed) or (due is not None and now < due)
    if observed.scheduler is None and _may_have_scheduler(observed) and not waits:
        found.append(scheduler_pod(cluster, observed.platform, token=observed.entropy))
    if observed.service is None:
        found.append(scheduler_service(cluster))
    if not cluster.deletes_workers:
        existing = {group.ref.name for group in observed.groups}
        for group in cluster.spec.all_groups:
            if names.group_name(cluster.meta.name, group.name) not in existing:
                found.append(worker_group(cluster, group))
    return (*found, *missing_autoscalers(observed))


def _may_have_scheduler(observed: ObservedCluster) -> bool:
    """Return whether to create a scheduler: an attempt's only once, its loss ends the attempt."""
    return observed.cluster.on_scheduler_loss != "Fail" or not _has_answered(observed)


def _scheduler_due(status: ClusterStatus) -> datetime | None:
    """Return when an ended scheduler may be replaced: at once, then with a growing backoff."""
    return replaced_at(status.scheduler_failures, status.last_failure_time)


def _superfluous(observed: ObservedCluster) -> tuple[ObjectRef, ...]:
    """Return the objects to delete: an ended scheduler, to be replaced, and unwanted objects."""
    gone: list[ObjectRef] = []
    if observed.scheduler and _is_replaced(observed):
        gone.append(observed.scheduler.ref)
    if observed.cluster.deletes_workers:
        gone += [group.ref for group in observed.groups if not group.deleting]
    return (*gone, *superfluous_autoscalers(observed))


def _is_replaced(observed: ObservedCluster) -> bool:
    """Return whether to replace the scheduler; the job decides about an attempt's scheduler."""
    scheduler = observed.scheduler
    if scheduler is None or scheduler.deleting or not scheduler.ended:
        return False
    return observed.cluster.on_scheduler_loss != "Fail"


def _with_failures(observed: ObservedCluster, now: datetime) -> ClusterStatus:
    """Return the status with an ended scheduler counted, in the pass that deletes it."""
    status, last = observed.status, observed.status.last_failure_time
    if not _is_replaced(observed):
        return status
    stable = last is not None and now - last >= timedelta(seconds=BACKOFF_LONGEST_SECONDS * 2)
    before = 0 if stable else status.scheduler_failures
    return replace(status, scheduler_failures=before + 1, last_failure_time=now)


def _counts(observed: ObservedCluster) -> tuple[int, tuple[Patch, ...]]:
    """Return the default group's count and the patches that bring both sides to it (§4a)."""
    cluster = observed.cluster
    wanted = cluster.spec.worker.replicas
    name = names.group_name(cluster.meta.name)
    group = next((g for g in observed.groups if g.ref.name == name), None)
    if group is None:
        return wanted, ()
    base = _merge_base(observed, group)
    count = merged_replicas(wanted, group.replicas, base)
    body: Manifest = {"spec": {"worker": {"replicas": count}}}
    agreed: Manifest = {"metadata": {"annotations": {names.ANNOTATION_SYNCED_REPLICAS: str(count)}}}
    if group.replicas != count:
        return count, (Patch(group.ref, agreed | body),)
    if wanted != count:
        # The group's change: it becomes the merge base only once the cluster has it.
        return count, (Patch(cluster.meta.ref, body),)
    return count, (Patch(group.ref, agreed),) if base != count else ()


def _merge_base(observed: ObservedCluster, group: GroupOfCluster) -> int | None:
    """Return the merge base from the group's annotation, else from the cluster's status."""
    noted = group.synced_replicas
    return observed.status.synced_replicas if noted is None else noted


def _reported_status(observed: ObservedCluster, replicas: int, now: datetime) -> ClusterStatus:
    cluster, now = observed.cluster, whole_seconds(now)
    meta, spec, old = cluster.meta, cluster.spec, _with_failures(observed, now)
    default = names.label_value(names.group_name(meta.name))
    ours = [pod for pod in observed.workers if pod.group == default and pod.alive]
    ready, reason, message = _scheduler_state(observed)
    condition = Condition(ConditionType.SCHEDULER_READY, ready, reason, message, meta.generation)
    default_name = names.group_name(meta.name)
    group = next((g for g in observed.groups if g.ref.name == default_name), None)
    asked_for = group is None and not observed.mistakes and not cluster.deletes_workers
    agreed = asked_for or (group is not None and group.replicas == spec.worker.replicas)
    port = dashboard_port(spec.service)
    return updated(
        old,
        observed_generation=meta.generation,
        phase=_phase(observed),
        replicas=len(ours),
        ready_replicas=sum(1 for pod in ours if pod.ready and not pod.deleting),
        # Only a count that both sides have is a base: a lost patch must not look like a user's
        # change. A missing group will be created with the cluster's count.
        synced_replicas=replicas if agreed else old.synced_replicas,
        selector=f"{names.LABEL_CLUSTER_NAME}={names.label_value(meta.name)},"
        f"{names.LABEL_WORKERGROUP_NAME}={default}",
        scheduler_address=scheduler_address(
            observed.platform, meta.name, meta.namespace, spec.scheduler
        ),
        dashboard_url=dashboard_url(
            observed.platform, meta.name, meta.namespace, spec.scheduler, port
        ),
        conditions=_with_groups(observed, with_condition(old.conditions, condition, now), now),
    )


def _with_groups(observed: ObservedCluster, conditions: Conditions, now: datetime) -> Conditions:
    """Return the conditions, with one for a rejected group or autoscaler if there is any."""
    kinds = (f"{names.Kind.GROUP}/", f"{names.Kind.AUTOSCALER}/")
    rejection = rejected(
        {key: rejection for key, rejection in observed.rejections.items() if key.startswith(kinds)}
    )
    if rejection is None:
        return tuple(c for c in conditions if c.type != ConditionType.WORKERS_READY)
    generation = observed.cluster.meta.generation
    condition = Condition(
        ConditionType.WORKERS_READY, False, str(rejection.reason), rejection.message, generation
    )
    return with_condition(conditions, condition, now)


def _write_due_at(
    observed: ObservedCluster, new: ClusterStatus, *, at_work: bool, now: datetime
) -> datetime:
    """Return when a changed status is written.

    Users wait for their cluster: it reports a ready scheduler at once. A job's cluster reports it
    together with its workers, at the latest 5 s after the scheduler became ready.
    """
    old, scheduler, meta = observed.status, observed.scheduler, observed.cluster.meta
    starts = new.phase is ClusterPhase.RUNNING and old.phase is not new.phase
    of_job = meta.owner_kind == names.Kind.JOB
    change, latest = compared(old, new, _decided), None
    if starts and (not of_job or _is_complete(observed, new)):
        change = Change.URGENT
    if starts and scheduler and scheduler.ready_changed_at:
        latest = scheduler.ready_changed_at + SETTLED
    pends = of_job and (old.phase, new.phase) == (ClusterPhase.CREATED, ClusterPhase.PENDING)
    if pends and meta.created_at:
        latest = meta.created_at + PATIENCE
    return due_at(
        change,
        [*([scheduler] if scheduler else []), *observed.workers],
        now,
        written_at=old.updated_at,
        at_work=at_work and not starts,
        more_to_come=pends or old.ready_replicas < new.ready_replicas < _wanted(observed),
        recounted=new.replicas != old.replicas and not (pends or starts),
        latest=latest,
    )


def _is_at_work(observed: ObservedCluster) -> bool:
    """Return whether a group is adding or removing workers now, without any problem."""
    if observed.rejections or observed.mistakes or observed.cluster.deletes_workers:
        return False
    for group in observed.groups:
        label = names.label_value(group.ref.name)
        mine = (pod for pod in observed.workers if pod.group == label)
        count = sum(1 for pod in mine if pod.alive and not pod.deleting)
        if count != group.replicas and not troubles(group.conditions):
            return True
    return False


def _decided(status: ClusterStatus) -> ClusterStatus:
    """Return the status without fields that follow the pods: counts, progress of a start."""
    starts = status.phase in (ClusterPhase.PENDING, ClusterPhase.RUNNING)
    return updated(
        status,
        phase=ClusterPhase.CREATED if starts else status.phase,
        replicas=0,
        ready_replicas=0,
        synced_replicas=None,
    )


def _is_complete(observed: ObservedCluster, status: ClusterStatus) -> bool:
    """Return whether all wanted workers are ready, and no others exist."""
    return status.replicas == status.ready_replicas == _wanted(observed)


def _wanted(observed: ObservedCluster) -> int:
    return observed.cluster.spec.worker.replicas


def _phase(observed: ObservedCluster) -> ClusterPhase:
    """Return the phase: ``Running`` from the first ready scheduler until the scheduler is lost."""
    old, scheduler = observed.status.phase, observed.scheduler
    if old is None:
        return ClusterPhase.CREATED
    if observed.mistakes or _is_lost(observed, scheduler):
        return ClusterPhase.ERROR
    if scheduler is not None and scheduler.ready:
        return ClusterPhase.RUNNING
    if old is ClusterPhase.RUNNING and scheduler is not None and not scheduler.ended:
        return ClusterPhase.RUNNING
    return ClusterPhase.PENDING


def _has_answered(observed: ObservedCluster) -> bool:
    """Return whether a scheduler of the cluster has ever answered."""
    return observed.status.phase in (ClusterPhase.RUNNING, ClusterPhase.ERROR)


def _is_lost(observed: ObservedCluster, scheduler: PodFacts | None) -> bool:
    if observed.cluster.on_scheduler_loss != "Fail":
        return False
    return _has_answered(observed) and (scheduler is None or scheduler.ended)


def _scheduler_state(observed: ObservedCluster) -> tuple[bool, str, str]:
    scheduler = observed.scheduler
    if observed.mistakes:
        return False, "InvalidSpec", "; ".join(str(mistake) for mistake in observed.mistakes)
    if scheduler is None:
        rejection = rejected(observed.rejections)
        if rejection:
            return False, str(rejection.reason), rejection.message
        for pod in observed.deployed:
            message = (
                f"pod {pod.ref.name} of an earlier cluster's Deployment still exists; a second "
                "scheduler would share its Service."
            )
            return False, "NameTaken", message
        if _has_answered(observed):
            return False, "Missing", "the scheduler pod is gone."
        return False, STARTING, "the scheduler is not ready yet."
    if scheduler.ready:
        return True, "Answers", f"pod {scheduler.ref.name} is ready."
    if _has_answered(observed) and scheduler.last_exited_with_0:
        return False, SHUT_DOWN, f"pod {scheduler.ref.name} was shut down: it exited with code 0."
    problem = crash_loop(scheduler) or waiting_for(scheduler)
    if problem:
        return False, str(problem.reason), problem.message
    return False, STARTING, "the scheduler is not ready yet."
