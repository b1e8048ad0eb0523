"""Decisions about a DaskWorkerGroup: which worker pods to create and to delete."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta

from daskjob.core import names
from daskjob.core.dask import Retirement
from daskjob.core.decide.common import first_problem, own_rejections, unmanaged, written
from daskjob.core.decide.status_timing import Change, compared, due_at
from daskjob.core.decision import NOTHING, Decision, Retire, earliest
from daskjob.core.desired.workers import worker_pods
from daskjob.core.diagnose import events_due_at, rejected
from daskjob.core.manifests import Manifest, whole_seconds
from daskjob.core.observed import ObservedGroup, Rejection
from daskjob.core.policies.allocation import allocated
from daskjob.core.policies.pacing import next_try
from daskjob.core.policies.renewal import Renewal, renewal
from daskjob.core.policies.scaling import (
    CONFIRMED_SECONDS,
    RETIRE_SECONDS,
    STABLE_SECONDS,
    Scaling,
    replacing,
    scaling,
)
from daskjob.core.status import (
    SHUT_DOWN,
    STARTING,
    Condition,
    ConditionType,
    GroupStatus,
    is_true,
    with_condition,
)
from daskjob.core.upstream import MADE_BY_DASK_KUBERNETES
from daskjob.core.values import updated

#: How soon a scheduler that did not confirm a retirement is asked again.
RETRY_SECONDS = 5


def decide_group(observed: ObservedGroup, now: datetime) -> Decision:
    """Return the writes that a pass over a worker group should make."""
    observed = updated(
        observed, rejections=_own_rejections(observed), retirement=_valid(observed.retirement, now)
    )
    group = observed.group
    if group.meta.deleting or _is_garbage(observed):
        return NOTHING
    if observed.unmanaged:
        return _unmanaged(observed, now)
    status = _with_failures(observed, now)
    changed = renewal(observed)
    verdict = _scaling(observed, status, changed)
    status = _reported_status(observed, status, verdict, changed, now)
    create, wait = _new_workers(observed, verdict, now)
    at_work = bool(create or verdict.remove or verdict.retire)
    due = _write_due_at(observed, status, at_work=at_work, now=now)
    looks = [wait, *(next_try(rejection) for rejection in observed.rejections.values())]
    looks += [events_due_at(pod, now) for pod in observed.workers]
    if verdict.blocked:
        looks.append(now + timedelta(seconds=RETRY_SECONDS))
    if status.last_failure_time is not None:
        looks.append(status.last_failure_time + timedelta(seconds=STABLE_SECONDS))
    if status != observed.status:
        looks.append(due)
    return Decision(
        status=written(observed.status, status, due, now),
        create=create,
        delete=tuple(pod.ref for pod in verdict.remove),
        retire=_retire(observed, verdict, now),
        withdrawn=_withdrawn(observed, verdict),
        # More workers follow at once if one pass does not create them all.
        wake_at=now if wait == now else earliest(looks, now),
    )


def _scaling(observed: ObservedGroup, status: GroupStatus, changed: Renewal | None) -> Scaling:
    if changed is None:
        return scaling(observed, status.failures, status.last_failure_time)
    return replacing(
        observed,
        changed.old,
        add=changed.add,
        go=changed.go,
        failures=status.failures,
        failed_at=status.last_failure_time,
    )


def _is_garbage(observed: ObservedGroup) -> bool:
    """Return whether garbage collection will delete the group: its cluster is or will be gone."""
    meta, cluster = observed.group.meta, observed.cluster
    if meta.owner_kind == names.Kind.CLUSTER and meta.owner_uid:
        return cluster is None or cluster.meta.deleting or cluster.meta.uid != meta.owner_uid
    return cluster is not None and cluster.meta.deleting


def _unmanaged(observed: ObservedGroup, now: datetime) -> Decision:
    """Report that a group in a cluster of dask-kubernetes is not managed."""
    old, meta = observed.status, observed.group.meta
    condition = Condition(
        ConditionType.WORKERS_READY,
        False,
        MADE_BY_DASK_KUBERNETES,
        f"dask-kubernetes created the scheduler of DaskCluster {observed.group.cluster}; daskjob "
        "does not manage its groups until the cluster is deleted and created again.",
        meta.generation,
    )
    conditions = with_condition(old.conditions, condition, whole_seconds(now))
    status = replace(old, observed_generation=meta.generation, conditions=conditions)
    return unmanaged(old, status, now)


def _retire(observed: ObservedGroup, verdict: Scaling, now: datetime) -> Retire | None:
    """Return the request to the scheduler; an unconfirmed one is repeated after 5 s.

    The next step of a large scale-down follows at once, if some of the last one was confirmed.
    """
    last = observed.retirement
    if not verdict.retire or (last is not None and _in_vain(last, verdict.retire, now)):
        return None
    return Retire(verdict.retire, RETIRE_SECONDS, observed.scheduler)


def _in_vain(last: Retirement, retire: tuple[str, ...], now: datetime) -> bool:
    """Return whether the scheduler has just failed to confirm the same workers, or any."""
    if last.at is None or now >= last.at + timedelta(seconds=RETRY_SECONDS):
        return False
    return set(retire) <= last.remaining or (bool(last.remaining) and not last.retired)


def _new_workers(
    observed: ObservedGroup, verdict: Scaling, now: datetime
) -> tuple[tuple[Manifest, ...], datetime | None]:
    """Return the worker pods to create, and when to check again if more may follow.

    Workers are created only once this cluster's own scheduler pod and Service exist: a terminating
    scheduler of an earlier cluster is still published under the same name (design §2.2).
    """
    cluster, wanted = observed.cluster, _wanted(observed, verdict)
    if not wanted or cluster is None:
        return (), None
    if verdict.not_before is not None and now < verdict.not_before:
        return (), verdict.not_before
    if observed.rejections:
        soonest = max(next_try(rejection) for rejection in observed.rejections.values())
        if now < soonest:
            return (), soonest
    count, wait = allocated(observed, wanted, now)
    # A rejected name is tried again: a new one would lose the number of tries.
    again = [name.removeprefix("Pod/") for name in sorted(observed.rejections)[:count]]
    fresh = [_fresh_name(observed, index) for index in range(count - len(again))]
    return worker_pods(observed.group, cluster, [*again, *fresh], observed.platform), wait


def _wanted(observed: ObservedGroup, verdict: Scaling) -> int:
    """Return how many workers the group may get, now or after a backoff."""
    if observed.mistakes or observed.cluster is None:
        return 0
    return verdict.add if observed.scheduler is not None and observed.service_exists else 0


def _withdrawn(observed: ObservedGroup, verdict: Scaling) -> tuple[str, ...]:
    """Return the rejected workers that are not tried again, since the group needs fewer now."""
    return tuple(sorted(observed.rejections)[_wanted(observed, verdict) :])


def _valid(answer: Retirement | None, now: datetime) -> Retirement | None:
    """Return a scheduler's answer while valid: workers not stopped in time take tasks again."""
    if answer is None or answer.at is None:
        return answer
    return answer if now < answer.at + timedelta(seconds=CONFIRMED_SECONDS) else None


def _own_rejections(observed: ObservedGroup) -> dict[str, Rejection]:
    if not observed.rejections:
        return {}
    prefix = f"Pod/{names.worker_name(observed.group.meta.name, '')}"
    return own_rejections(observed.rejections, (), (prefix,))


def _fresh_name(observed: ObservedGroup, index: int) -> str:
    """Return a new worker's name: unique, derived from the observed entropy."""
    seed = f"{observed.group.meta.uid}/{observed.entropy}/{index}"
    suffix = hashlib.sha256(seed.encode()).hexdigest()[:10]
    return names.worker_name(observed.group.meta.name, suffix)


def _with_failures(observed: ObservedGroup, now: datetime) -> GroupStatus:
    """Return the status with the workers counted that failed since the last pass.

    A failed pod is counted in the pass that deletes it. A worker that retired, or reached its
    ``--lifetime``, exits with 0 and is not a failure; nor is one that its node evicted or that was
    lost with a spot node (Kubernetes sets ``DisruptionTarget``), no matter how many in a row.
    """
    status, now = observed.status, whole_seconds(now)
    stable = status.last_failure_time is not None and (
        now - status.last_failure_time >= timedelta(seconds=STABLE_SECONDS)
    )
    failed = [
        pod
        for pod in observed.workers
        if pod.ended
        and not (pod.deleting or pod.disruption)
        and not (pod.main and pod.main.exit_code == 0)
    ]
    if failed:
        before = 0 if stable else status.failures
        return replace(status, failures=before + 1, last_failure_time=now)
    if stable and status.failures and any(pod.ready for pod in observed.workers):
        return replace(status, failures=0, last_failure_time=None)
    return status


def _reported_status(
    observed: ObservedGroup,
    status: GroupStatus,
    verdict: Scaling,
    changed: Renewal | None,
    now: datetime,
) -> GroupStatus:
    meta, alive = observed.group.meta, observed.staying
    ready = sum(1 for pod in alive if pod.ready)
    wanted = observed.group.replicas
    reason, message = _why(observed, verdict, changed, ready)
    condition = Condition(
        ConditionType.WORKERS_READY, ready == wanted, reason, message, meta.generation
    )
    return updated(
        status,
        observed_generation=meta.generation,
        replicas=len(alive),
        ready_replicas=ready,
        selector=f"{names.LABEL_WORKERGROUP_NAME}={names.label_value(meta.name)}",
        conditions=with_condition(status.conditions, condition, whole_seconds(now)),
    )


def _write_due_at(
    observed: ObservedGroup, new: GroupStatus, *, at_work: bool, now: datetime
) -> datetime:
    """Return when a changed status is written; the first is timed from the group's creation."""
    old, wanted = observed.status, observed.group.replicas
    first = not old.observed_generation
    change = compared(old, new, _decided)
    if first and is_true(new.conditions, ConditionType.WORKERS_READY):
        change = Change.URGENT
    return due_at(
        change,
        observed.workers,
        now,
        written_at=old.updated_at or observed.group.meta.created_at,
        at_work=at_work,
        more_to_come=old.ready_replicas < new.ready_replicas < wanted,
        recounted=new.replicas != old.replicas,
    )


def _decided(status: GroupStatus) -> GroupStatus:
    """Return the status without the fields that follow the pods."""
    return updated(status, replicas=0, ready_replicas=0, selector="")


def _why(
    observed: ObservedGroup, verdict: Scaling, changed: Renewal | None, ready: int
) -> tuple[str, str]:
    wanted = observed.group.replicas
    if observed.mistakes:
        return "InvalidSpec", "; ".join(str(mistake) for mistake in observed.mistakes)
    if observed.cluster is None:
        name = observed.group.cluster
        return "ClusterMissing", f"DaskCluster {name} does not exist; the group is waiting for it."
    if verdict.blocked:
        return "ScaleDownBlocked", f"{verdict.blocked}; scale-down is paused."
    if ready == wanted and changed is None:
        return "AllReady", f"{ready} of {wanted} workers are ready."
    rejection = rejected(observed.rejections)
    if rejection:
        return str(rejection.reason), rejection.message
    scheduler = observed.scheduler
    if scheduler is not None and not scheduler.ready and scheduler.last_exited_with_0:
        return SHUT_DOWN, f"workers end with scheduler pod {scheduler.ref.name}: it exited with 0."
    if problem := first_problem(observed.workers):
        return str(problem.reason), problem.message
    if changed is not None:
        new = len(observed.staying) - len(changed.old)
        return "Updating", f"{new} of {wanted} workers have the new template so far."
    return STARTING, f"{ready} of {wanted} workers are ready."
