"""Decisions about a DaskJob.

The order of the chain matters: the runner's own outcome comes first, since it is a fact; then the
requests of users; then limits; then failures of the attempt's other parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from daskjob.core import names
from daskjob.core.decide.common import may_try, own_rejections, withdrawn, written
from daskjob.core.decide.job_end import ended
from daskjob.core.decide.job_events import events_between
from daskjob.core.decide.job_status import needs_write, reported_status, write_due_at
from daskjob.core.decision import NOTHING, Decision, Event, Patch, earliest
from daskjob.core.desired.cluster import job_cluster
from daskjob.core.desired.environment import environment_config_map, is_prepared
from daskjob.core.desired.files import files_config_map
from daskjob.core.desired.runner import runner_pod
from daskjob.core.job_view import AttemptEnd, JobView
from daskjob.core.manifests import Manifest, whole_seconds
from daskjob.core.observed import CollectedReport, ObservedJob, Rejection
from daskjob.core.pods import PodFacts
from daskjob.core.policies import startup
from daskjob.core.policies.cancel import cancelled
from daskjob.core.policies.cleanup import (
    BLOCKED_SECONDS,
    SIDECAR_SECONDS,
    Cleanup,
    after_attempt,
    after_job,
    blocked_until,
    in_the_way,
)
from daskjob.core.policies.deadline import (
    attempt_deadline,
    attempt_deadline_at,
    job_deadline,
    job_deadline_at,
    startup_deadline,
    startup_deadline_at,
)
from daskjob.core.policies.last_tasks import SCHEDULER_ENDED, with_dropped
from daskjob.core.policies.outcome import outcome, overdue_at, worker_end_due
from daskjob.core.policies.pacing import next_try
from daskjob.core.policies.scheduler_loss import scheduler_end_due, scheduler_loss
from daskjob.core.policies.stall import stall
from daskjob.core.policies.suspend import interrupted, wants_suspension
from daskjob.core.policies.ttl import expires_at
from daskjob.core.reasons import Reason
from daskjob.core.spec import DaskJob
from daskjob.core.spec.code import CODE
from daskjob.core.spec.environment import frozen_environment
from daskjob.core.spec.policy import (
    FROZEN_CLUSTER,
    FROZEN_CLUSTER_REF,
    FROZEN_CODE,
    FROZEN_ENVIRONMENT,
    FROZEN_SUBMISSION_ID,
    RunnerStart,
    followed,
    frozen,
    thawed,
)
from daskjob.core.status import ConditionType, JobStatus, JobStatusWord
from daskjob.core.task_trouble import task_trouble_at
from daskjob.core.values import updated

CHANGED_TOO_LATE = (
    "the spec changed after the job's end. A finished job does not run again, and only "
    "ttlSecondsAfterFinished still counts: create another DaskJob."
)
#: How soon a runner that has not ended yet is checked again.
LOOK_SECONDS = SIDECAR_SECONDS + 1


def decide_job(observed: ObservedJob, now: datetime) -> Decision:
    """Return the writes that a pass over a job should make."""
    observed = updated(
        observed, rejections=_own_rejections(observed), report=_report_of_attempt(observed)
    )
    job = observed.job
    if job.meta.deleting or not _is_ours(observed):
        return NOTHING
    if observed.status.finished:
        return _after_end(observed, now)
    view = _view(observed, now)
    if observed.mistakes and not (observed.status.started or observed.from_dask_kubernetes):
        return _write(view, ended(view, _invalid(view)))
    end = _end(view)
    if end is None:
        return _carry_on(view)
    if scheduler := _scheduler_with_report(view):
        return Decision(report_from=scheduler)
    if due := scheduler_end_due(view) or worker_end_due(view):
        return Decision(wake_at=due)
    if view.attempt_runs:
        # Delayed changes of the status are written now too.
        view = replace(view, status=reported_status(view))
    return _write(view, ended(view, end), unwritten=view.status)


def _report_of_attempt(observed: ObservedJob) -> CollectedReport | None:
    """Return the report unless it is an earlier attempt's."""
    report = observed.report
    return report if report is not None and report.attempt == observed.status.attempt else None


def _is_ours(observed: ObservedJob) -> bool:
    """Return whether daskjob manages the job; one with objects of ours stays ours until its end."""
    if observed.job.managed_by == names.MANAGED_BY:
        return True
    # A status alone proves nothing: other controllers copy it from another cluster.
    own_cluster = observed.cluster is not None and not observed.job.cluster_ref
    return observed.status.started and (own_cluster or bool(observed.runners))


def _own_rejections(observed: ObservedJob) -> dict[str, Rejection]:
    if not observed.rejections:
        return {}
    job, cluster = observed.job, observed.job.cluster_name
    groups = [group.name for group in job.cluster.all_groups] if job.cluster else ["default"]
    attempt = observed.status.attempt
    exact = {
        *(f"Pod/{names.runner_name(job.meta.name, n)}" for n in (attempt, max(attempt - 1, 0))),
        f"ConfigMap/{names.files_name(job.meta.name)}",
        f"ConfigMap/{names.environment_name(job.meta.name)}",
        f"{names.Kind.CLUSTER}/{job.meta.name}",
        f"Pod/{names.scheduler_pod_name(cluster)}",
        f"Service/{names.scheduler_service_name(cluster)}",
        *(f"{names.Kind.GROUP}/{names.group_name(cluster, group)}" for group in groups),
    }
    workers = tuple(f"Pod/{names.worker_name(names.group_name(cluster, g), '')}" for g in groups)
    return own_rejections(observed.rejections, exact, workers)


def _withdrawn(observed: ObservedJob, wanted: Iterable[Manifest]) -> tuple[str, ...]:
    """Return the rejected objects that the job's own passes asked for, and do not want any more."""
    name, attempt = observed.job.meta.name, observed.status.attempt
    own = {
        *(f"Pod/{names.runner_name(name, n)}" for n in (attempt, max(attempt - 1, 0))),
        f"ConfigMap/{names.files_name(name)}",
        f"ConfigMap/{names.environment_name(name)}",
        f"{names.Kind.CLUSTER}/{name}",
    }
    return withdrawn(own & observed.rejections.keys(), wanted)


def _view(observed: ObservedJob, now: datetime) -> JobView:
    status = observed.status if observed.status.started else _first_status(observed)
    cluster_ref = bool(observed.job.cluster_ref)
    policy = followed(status.policy or {}, observed.job.raw)
    status = updated(status, policy=policy, observed_generation=observed.job.meta.generation)
    if status.attempt_start_time is None:
        status = updated(status, attempt_start_time=_unrecorded_start(observed))
    view = JobView(observed, status, thawed(policy, cluster_ref=cluster_ref), now)
    return replace(view, status=_with_suspension(view))


def _unrecorded_start(observed: ObservedJob) -> datetime | None:
    """Return when an attempt began whose objects exist although no status records its start.

    The operator that created them died, or lost its connection, before it wrote the status. Without
    this a job that is suspended now would keep a live runner.
    """
    attempt, cluster = observed.status.attempt, observed.cluster
    runner = observed.runner(attempt)
    moments = [runner.created_at] if runner else []
    if cluster and not observed.job.cluster_ref and cluster.attempt == attempt:
        moments.append(cluster.created_at)
    return min((moment for moment in moments if moment is not None), default=None)


def _first_status(observed: ObservedJob) -> JobStatus:
    """Return the first status: the first ``jobStatus``, and the policy, frozen.

    A job that dask-kubernetes started keeps its status and has one attempt: it was submitted with
    dask-kubernetes' semantics.
    """
    job = observed.job
    if observed.from_dask_kubernetes:
        once = replace(job.policy, backoff_limit=0, max_ignored=0, rules=())
        status, hashed = observed.status, job.template_hash
        return replace(status, policy={**frozen(once), **_fixed(job)}, spec_hash=hashed)
    return JobStatus(
        job_status=JobStatusWord.JOB_CREATED,
        policy={**frozen(job.policy), **_fixed(job)},
        spec_hash=job.template_hash,
    )


def _fixed(job: DaskJob) -> Manifest:
    """Return what is frozen with the policy, although it is no part of it."""
    token = {FROZEN_SUBMISSION_ID: job.submission_id} if job.submission_id else {}
    where = FROZEN_CLUSTER_REF if job.cluster_ref else FROZEN_CLUSTER
    environment, code = frozen_environment(job.environment), job.raw.get(CODE.name)
    packages = {FROZEN_ENVIRONMENT: environment} if environment else {}
    return {
        where: job.cluster_name,
        **token,
        **packages,
        **({FROZEN_CODE: code} if code else {}),
    }


def _with_suspension(view: JobView) -> JobStatus:
    """Return the status suspended or resumed as the spec wants, with the times that change."""
    status, now = view.status, whole_seconds(view.now)
    if wants_suspension(view):
        if status.suspended or view.attempt_runs:
            return status
        suspended = replace(status, active_seconds=int(view.active_time.total_seconds()))
        return replace(suspended, start_time=None, next_attempt_time=None).with_condition(
            ConditionType.SUSPENDED,
            status=True,
            reason="Suspended",
            message="spec.suspend is true.",
            now=now,
        )
    if status.suspended:
        status = status.with_condition(
            ConditionType.SUSPENDED,
            status=False,
            reason="Resumed",
            message="spec.suspend is false.",
            now=now,
        )
    return status if status.start_time else replace(status, start_time=now)


def _end(view: JobView) -> AttemptEnd | None:
    """Return the first reason to end the attempt, or the job; ``None`` if there is none."""
    if not view.attempt_runs:
        return cancelled(view) or job_deadline(view) or _blocked_too_long(view)
    result = outcome(view)
    if result is not None and result.reason is not None:
        # If the scheduler was lost too, that is the cause of the runner's failure.
        result = scheduler_loss(view) or result
    elif result is not None and view.observed.promised_tasks:
        # No success (design §4.1): tasks of the script are pending, and now they never run.
        cause = cancelled(view) or job_deadline(view) or scheduler_loss(view)
        if cause is None and _scheduler_with_report(view) is None:
            cause = SCHEDULER_ENDED
        result = with_dropped(cause, view) if cause else result
    stalled = stall(view)
    return (
        result
        or cancelled(view)
        or job_deadline(view)
        or interrupted(view)
        or scheduler_loss(view)
        or startup.hopeless_start(view)
        or _blocked_too_long(view)
        or attempt_deadline(view)
        or startup_deadline(view)
        or (stalled.end if stalled else None)
    )


def _invalid(view: JobView) -> AttemptEnd:
    mistakes = "; ".join(str(mistake) for mistake in view.observed.mistakes)
    return AttemptEnd(Reason.INVALID_SPEC, f"{mistakes}. Correct the spec and submit it again.")


def _blocked_too_long(view: JobView) -> AttemptEnd | None:
    """Return the end if objects of an earlier attempt are not deleted in time.

    An attempt whose scheduler was ready once has nothing left to wait for.
    """
    due, things = blocked_until(view), in_the_way(view)
    if due is None or view.now < due or not things or view.status.suspended:
        return None
    if view.status.scheduler_identity:
        return None
    message = (
        f"{', '.join(things)} of an earlier attempt could not be deleted within "
        f"{BLOCKED_SECONDS} s. Check the node: kubectl describe node."
    )
    return AttemptEnd(Reason.NODE_LOST, message)


def _scheduler_with_report(view: JobView) -> PodFacts | None:
    """Return the scheduler if its report must be read first: it is deleted with the cluster.

    A probe's initial delay may outlast a short job, so a running scheduler is asked, ready or not.
    """
    scheduler = view.scheduler
    if scheduler is None or scheduler.deleting or view.job.cluster_ref:
        return None
    if scheduler.main is None or not scheduler.main.running:
        return None
    if view.scheduler_was_shut_down:
        # This one was started again, and knows nothing of the attempt's work.
        return None
    return scheduler if view.observed.report is None else None


def _carry_on(view: JobView) -> Decision:
    """Return the writes for a job that goes on: missing objects, cleanup, and its status."""
    cleanup = after_attempt(view) if view.observed.status.started else Cleanup()
    create = _next_objects(view) if _may_start(view) else ()
    given_up = _withdrawn(view.observed, create)
    if _may_start(view) and not view.attempt_runs:
        now = whole_seconds(view.now)
        started = replace(view.status, attempt_start_time=now, next_attempt_time=None)
        view = replace(view, status=started)
    create = tuple(
        manifest for manifest in create if may_try(view.observed.rejections, manifest, view.now)
    )
    decision = _write(view, reported_status(view))
    return replace(
        decision,
        create=create,
        delete=cleanup.delete,
        stop=cleanup.stop,
        patch=_scaled(view),
        withdrawn=given_up,
        wake_at=earliest([decision.wake_at, *_next_looks(view)], view.now),
    )


def _may_start(view: JobView) -> bool:
    """Return whether the attempt may begin, or continue; its startup deadline begins with it."""
    status = view.status
    if status.suspended or wants_suspension(view) or in_the_way(view):
        return False
    return status.next_attempt_time is None or view.now >= status.next_attempt_time


def _next_objects(view: JobView) -> tuple[Manifest, ...]:
    """Return the attempt's missing objects, the runner first: workers must not use up its quota."""
    status = view.status
    platform, job, found = view.observed.platform, view.job, []
    if job.files and not view.observed.files_exist:
        found.append(files_config_map(job))
    if is_prepared(job, platform) and not view.observed.environment_exists:
        found.append(environment_config_map(job, platform))
    if view.runner is None and not view.runner_was_seen and _runner_may_start(view):
        found.append(runner_pod(job, view.policy, status.attempt, platform))
    if job.cluster is not None and view.observed.cluster is None:
        found.append(job_cluster(job, view.policy, status.attempt, platform))
    return tuple(found)


def _runner_may_start(view: JobView) -> bool:
    if view.job.cluster_ref and view.observed.cluster is None:
        return False
    scheduler = view.scheduler
    if view.cluster is not None and view.cluster.unmanaged:
        # It is not known whether its scheduler and workers exist.
        return True
    match view.policy.runner_start:
        case RunnerStart.AT_ONCE:
            return True
        case RunnerStart.AFTER_SCHEDULER:
            return scheduler is not None and scheduler.ready
        case RunnerStart.AFTER_WORKERS:
            if scheduler is None or not scheduler.ready or view.cluster is None:
                return False
            wanted = view.policy.min_available_workers or view.cluster.desired_workers
            return view.ready_workers >= wanted


def _scaled(view: JobView) -> tuple[Patch, ...]:
    """Return the patch that passes an explicit count of workers on to the job's cluster."""
    cluster, spec = view.cluster, view.job.cluster
    if cluster is None or spec is None or not spec.worker.replicas_given or cluster.unmanaged:
        return ()
    count = spec.worker.replicas
    if spec.worker.autoscaling or count == cluster.asked_replicas:
        return ()
    asked = {"annotations": {names.ANNOTATION_JOB_REPLICAS: str(count)}}
    return (Patch(cluster.ref, {"metadata": asked, "spec": {"worker": {"replicas": count}}}),)


def _write(view: JobView, status: JobStatus, *, unwritten: JobStatus | None = None) -> Decision:
    """Return the decision to write a status, if it has changed."""
    old = view.observed.status
    if not needs_write(view, status):
        return NOTHING
    due = write_due_at(view, status)
    manifest = written(old, status, due, view.now)
    if manifest is None:
        return Decision(wake_at=due)
    return Decision(status=manifest, events=events_between(old, status, unwritten=unwritten))


def _next_looks(view: JobView) -> list[datetime | None]:
    """Return the times at which the decision may change by the passage of time alone."""
    status, policy = view.status, view.policy
    stalled = stall(view)
    progress = status.progress.updated_at if status.progress else None
    follows_progress = policy.progress_interval_seconds and status.job_status == "Running"
    moments = [
        job_deadline_at(view),
        attempt_deadline_at(view),
        startup_deadline_at(view),
        overdue_at(view),
        startup.next_look(view),
        status.next_attempt_time,
        stalled.due if stalled else None,
        task_trouble_at(view),
        blocked_until(view) if in_the_way(view) else None,
        *(next_try(rejection) for rejection in view.observed.rejections.values()),
    ]
    if follows_progress:
        since = progress or view.now
        moments.append(since + timedelta(seconds=policy.progress_interval_seconds))
    if in_the_way(view):
        moments.append(view.now + timedelta(seconds=LOOK_SECONDS))
    return moments


def _after_end(observed: ObservedJob, now: datetime) -> Decision:
    """Return the cleanup of a finished job.

    Its end never changes. A changed spec is acknowledged: Argo CD and Flux wait for
    ``observedGeneration``.
    """
    cluster_ref = bool(observed.job.cluster_ref)
    policy = followed(observed.status.policy or {}, observed.job.raw)
    view = JobView(observed, observed.status, thawed(policy, cluster_ref=cluster_ref), now)
    expiry = expires_at(view)
    if expiry is not None and now >= expiry:
        return Decision(delete=(observed.job.meta.ref,))
    cleanup = after_job(view)
    strip = {"metadata": {"annotations": {names.ANNOTATION_DELETE_WORKERS: "true"}}}
    alive = any(pod.alive for pod in observed.runners)
    old, generation = observed.status, observed.job.meta.generation
    late = old.started and old.observed_generation < generation
    acknowledged = replace(old, observed_generation=generation) if late else old
    return Decision(
        status=written(old, acknowledged, now, now),
        events=(Event("SpecChangeIgnored", CHANGED_TOO_LATE, warning=True),) if late else (),
        delete=cleanup.delete,
        stop=cleanup.stop,
        patch=(Patch(cleanup.strip, strip),) if cleanup.strip else (),
        withdrawn=_withdrawn(observed, ()),
        wake_at=earliest([expiry, now + timedelta(seconds=LOOK_SECONDS) if alive else None], now),
    )
