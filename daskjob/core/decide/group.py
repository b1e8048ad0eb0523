"""Deciding about a DaskWorkerGroup: which worker pods come and go. No I/O here."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta

from daskjob.core import names
from daskjob.core.build.workers import worker_pod
from daskjob.core.decision import NOTHING, Decision, Retire, earliest
from daskjob.core.diagnose import crash_loop, waiting_for
from daskjob.core.manifests import Manifest, whole_seconds
from daskjob.core.observed import ObservedGroup
from daskjob.core.policies.pacing import next_try
from daskjob.core.policies.scaling import RETIRE_SECONDS, STABLE_SECONDS, Scaling, scaling
from daskjob.core.status import Condition, ConditionType, GroupStatus, with_condition


def decide_group(observed: ObservedGroup, now: datetime) -> Decision:
    """Return what a pass over a worker group is to do."""
    group = observed.group
    if group.meta.deleting or (observed.cluster and observed.cluster.meta.deleting):
        return NOTHING
    status = _with_failures(observed, now)
    verdict = scaling(observed, status.failures, status.last_failure_time)
    status = _told(observed, status, verdict, now)
    create, wait = _new_workers(observed, verdict, now)
    looks = [wait, *(next_try(refusal) for refusal in observed.refusals.values())]
    if verdict.blocked:
        looks.append(now + timedelta(seconds=5))
    return Decision(
        status=None if status == observed.status else status.to_manifest(),
        create=create,
        delete=tuple(pod.ref for pod in verdict.remove),
        retire=Retire(verdict.retire, RETIRE_SECONDS) if verdict.retire else None,
        wake_at=earliest(looks, now),
    )


def _new_workers(
    observed: ObservedGroup, verdict: Scaling, now: datetime
) -> tuple[tuple[Manifest, ...], datetime | None]:
    """Return the worker pods to create, and when to look again where none may come yet.

    Workers are created only after this cluster's own scheduler pod and Service have been: a dying
    scheduler of an earlier cluster is still published under the same name (design §2.2).
    """
    cluster = observed.cluster
    if not verdict.add or observed.mistakes or cluster is None:
        return (), None
    if observed.scheduler is None or not observed.service_exists:
        return (), None
    if verdict.not_before is not None and now < verdict.not_before:
        return (), verdict.not_before
    refused = [r for n, r in observed.refusals.items() if n.startswith(_pod_prefix(observed))]
    if refused:
        soonest = max(next_try(refusal) for refusal in refused)
        if now < soonest:
            return (), soonest
    fresh = [_fresh_name(observed, index) for index in range(verdict.add)]
    return tuple(worker_pod(observed.group, cluster, n, observed.site) for n in fresh), None


def _pod_prefix(observed: ObservedGroup) -> str:
    return f"Pod/{names.worker_name(observed.group.meta.name, '')}"


def _fresh_name(observed: ObservedGroup, index: int) -> str:
    """Return a new worker's name: random by the entropy that was observed, never used before."""
    seed = f"{observed.group.meta.uid}/{observed.entropy}/{index}"
    suffix = hashlib.sha256(seed.encode()).hexdigest()[:10]
    return names.worker_name(observed.group.meta.name, suffix)


def _with_failures(observed: ObservedGroup, now: datetime) -> GroupStatus:
    """Return the status with workers counted that ended for good since the last pass.

    A pod that is to be removed is counted in the pass that removes it. A worker that retired, or
    reached its ``--lifetime``, exits with 0 and is no failure.
    """
    status, now = observed.status, whole_seconds(now)
    stable = status.last_failure_time is not None and (
        now - status.last_failure_time >= timedelta(seconds=STABLE_SECONDS)
    )
    failed = [
        pod
        for pod in observed.workers
        if pod.ended and not pod.deleting and not (pod.main and pod.main.exit_code == 0)
    ]
    if failed:
        before = 0 if stable else status.failures
        return replace(status, failures=before + 1, last_failure_time=now)
    if stable and status.failures and any(pod.ready for pod in observed.workers):
        return replace(status, failures=0, last_failure_time=None)
    return status


def _told(
    observed: ObservedGroup, status: GroupStatus, verdict: Scaling, now: datetime
) -> GroupStatus:
    meta = observed.group.meta
    alive = [pod for pod in observed.workers if pod.alive and not pod.deleting]
    ready = sum(1 for pod in alive if pod.ready)
    wanted = observed.group.replicas
    reason, message = _why(observed, verdict, ready, wanted)
    condition = Condition(
        ConditionType.WORKERS_READY, ready == wanted, reason, message, meta.generation
    )
    return replace(
        status,
        observed_generation=meta.generation,
        replicas=len(alive),
        ready_replicas=ready,
        selector=f"{names.LABEL_WORKERGROUP_NAME}={names.label_value(meta.name)}",
        conditions=with_condition(status.conditions, condition, whole_seconds(now)),
    )


def _why(observed: ObservedGroup, verdict: Scaling, ready: int, wanted: int) -> tuple[str, str]:
    if observed.mistakes:
        return "InvalidSpec", "; ".join(str(mistake) for mistake in observed.mistakes)
    if observed.cluster is None:
        name = observed.group.cluster
        return "ClusterMissing", f"DaskCluster {name} does not exist; the group waits for it."
    if verdict.blocked:
        return "ScaleDownBlocked", f"{verdict.blocked}; no worker is removed until then."
    if ready == wanted:
        return "AllReady", f"{ready} of {wanted} workers are ready."
    for _, refusal in sorted(observed.refusals.items()):
        return str(refusal.kind), f"{refusal.name} could not be created: {refusal.words}."
    for pod in observed.workers:
        problem = None if pod.ready else crash_loop(pod) or waiting_for(pod)
        if problem:
            return str(problem.reason), problem.message
    return "Starting", f"{ready} of {wanted} workers are ready."
