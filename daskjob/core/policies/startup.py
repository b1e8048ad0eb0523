"""Starts that cannot succeed: rejected objects, images, crash loops.

A queue is not a failure: a pod that does not fit on any node, or in the quota, waits as long as the
startup deadline allows (design §3.1). Other problems get a limited time to resolve themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from daskjob.core import names
from daskjob.core.diagnose import (
    PATIENCE_SECONDS,
    Diagnosis,
    crash_loop,
    events_due_at,
    not_prepared,
    waiting_for,
)
from daskjob.core.errors import RejectionKind
from daskjob.core.job_view import AttemptEnd, JobView
from daskjob.core.observed import Rejection
from daskjob.core.pods import PodFacts
from daskjob.core.quantity import wrong_quantities
from daskjob.core.reasons import Reason

#: Restarts after which a scheduler, or workers, that never became ready are given up.
MAX_RESTARTS = 5


def hopeless_start(view: JobView) -> AttemptEnd | None:
    """Return why the attempt can never start; ``None`` while it may."""
    if not view.attempt_runs or view.scheduler_was_shut_down:
        return None
    return (
        _without_cluster(view)
        or _rejected(view)
        or _name_stays_taken(view)
        or _never_prepared(view)
        or _waited_too_long(view)
        or _scheduler_never_answers(view)
        or _workers_cannot_be_made(view)
        or _workers_wait_too_long(view)
        or _workers_never_come(view)
    )


def next_look(view: JobView) -> datetime | None:
    """Return when the result may change by the passage of time alone."""
    rejections = view.observed.rejections.values()
    moments = [_rejected_since(view, rejection) + _patience() for rejection in rejections]
    for pod in (*_pods(view), *view.workers):
        if given_up := _given_up_at(pod):
            moments.append(given_up)
        if due := events_due_at(pod, view.now):
            moments.append(due)
    if (due := _name_given_up_at(view)) is not None:
        moments.append(due)
    scheduler = view.scheduler
    started = _started_at(scheduler) if scheduler else None
    if started and not view.status.scheduler_identity:
        moments.append(started + _patience())
    return min((m for m in moments if m > view.now), default=None)


def rejections_of(view: JobView) -> list[Rejection]:
    """Return the rejections of objects that the attempt needs."""
    cluster = view.job.cluster_name
    wanted = {
        f"Pod/{names.runner_name(view.job.meta.name, view.status.attempt)}",
        f"ConfigMap/{names.files_name(view.job.meta.name)}",
        f"ConfigMap/{names.environment_name(view.job.meta.name)}",
        f"{names.Kind.CLUSTER}/{view.job.meta.name}",
        f"Pod/{names.scheduler_pod_name(cluster)}",
        f"Service/{names.scheduler_service_name(cluster)}",
        f"{names.Kind.GROUP}/{names.group_name(cluster)}",
    }
    return [rejection for name, rejection in view.observed.rejections.items() if name in wanted]


def _without_cluster(view: JobView) -> AttemptEnd | None:
    """Return the end if the attempt needs a cluster that the spec does not describe any more."""
    if view.job.cluster is not None or view.job.cluster_ref or view.observed.cluster is not None:
        return None
    message = "spec.cluster is gone, and the job began with it. Submit the job again."
    return AttemptEnd(Reason.INVALID_SPEC, message)


def _rejected(view: JobView) -> AttemptEnd | None:
    for rejection in rejections_of(view):
        waited = view.now - _rejected_since(view, rejection) >= _patience()
        match rejection.kind:
            case RejectionKind.INVALID:
                step = f"{_wrong_quantity(view, rejection)}Correct the spec and submit it again."
                return AttemptEnd(Reason.INVALID_SPEC, _message(rejection, "is rejected", step))
            case RejectionKind.CONFLICT:
                step = "Choose another name for the job, or remove that object."
                return AttemptEnd(Reason.NAME_CONFLICT, _message(rejection, "is taken", step))
            case RejectionKind.TERMINATING if waited:
                step = "Find out what keeps that object from being deleted."
                return AttemptEnd(Reason.NAME_CONFLICT, _message(rejection, "is still taken", step))
            case RejectionKind.REJECTED | RejectionKind.UNREACHED if waited:
                step = _admission_step(rejection)
                return AttemptEnd(
                    Reason.REJECTED, _message(rejection, "is rejected by admission", step)
                )
            case _:
                continue
    return None


def _rejected_since(view: JobView, rejection: Rejection) -> datetime:
    """Return since when an object has been rejected in this attempt; an earlier one has ended."""
    return max(rejection.first_at, view.status.attempt_start_time or rejection.first_at)


def _admission_step(rejection: Rejection) -> str:
    down = rejection.kind is RejectionKind.UNREACHED
    return f"Ask the administrator of the {'webhook' if down else 'admission policy'}."


def _name_stays_taken(view: JobView) -> AttemptEnd | None:
    """Return the end if pods of an earlier cluster keep the scheduler from being created."""
    due = _name_given_up_at(view)
    if due is None or view.now < due:
        return None
    pods = ", ".join(ref.name for ref in view.observed.leftovers)
    message = (
        f"{pods} of an earlier cluster still exists. Find out what keeps it from being deleted."
    )
    return AttemptEnd(Reason.NAME_CONFLICT, message)


def _name_given_up_at(view: JobView) -> datetime | None:
    cluster = view.cluster
    if cluster is None or cluster.created_at is None or cluster.unmanaged:
        return None
    never_there = view.scheduler is None and not view.status.scheduler_identity
    return cluster.created_at + _patience() if never_there and view.observed.leftovers else None


def _wrong_quantity(view: JobView, rejection: Rejection) -> str:
    """Return the field of a value that is no quantity, which the API server leaves out."""
    if "quantit" not in rejection.message.lower():
        return ""
    job, cluster = view.job, view.job.cluster
    templates = [("spec.job.spec", job.runner)]
    if cluster is not None:
        below = "spec.cluster.spec"
        templates.append((f"{below}.scheduler.spec", cluster.scheduler))
        templates.append((f"{below}.worker.spec", cluster.worker.template))
        for index, group in enumerate(cluster.groups):
            templates.append((f"{below}.workerGroups[{index}].spec", group.template))
    found = [wrong for path, pod in templates for wrong in wrong_quantities(pod.spec, path)]
    return f"{found[0]}. " if found else ""


def _message(rejection: Rejection, what: str, step: str) -> str:
    return f"{rejection.name} {what}: {rejection.message}. {step}".replace("..", ".")


def _waited_too_long(view: JobView) -> AttemptEnd | None:
    for pod in _pods(view):
        diagnosis, due = waiting_for(pod), _given_up_at(pod)
        if diagnosis is not None and due is not None and view.now >= due:
            return _end(diagnosis)
    return None


def _never_prepared(view: JobView) -> AttemptEnd | None:
    """Return the end if a scheduler cannot be prepared, or workers before any of them was ready.

    Their nodes would try it for ever, as they start crashed containers again. One worker of
    several that run is no end; a condition names it.
    """
    scheduler = view.scheduler
    pods = [scheduler] if scheduler is not None and not view.status.scheduler_identity else []
    if not (view.ready_workers or view.workers_joined):
        pods += sorted(view.workers, key=lambda pod: pod.ref.name)
    problems = (not_prepared(pod) for pod in pods)
    found = next((problem for problem in problems if problem and problem.final), None)
    return _end(found) if found else None


def _end(diagnosis: Diagnosis) -> AttemptEnd:
    return AttemptEnd(
        diagnosis.reason,
        diagnosis.message,
        diagnosis.exit_code,
        final=diagnosis.final,
        may_pass=diagnosis.may_pass,
    )


def _given_up_at(pod: PodFacts) -> datetime | None:
    """Return when waiting for a pod is given up; ``None``: never, or it has no problem."""
    diagnosis, since = waiting_for(pod), _waits_since(pod)
    if diagnosis is None or diagnosis.patience_seconds is None or since is None:
        return None
    return since + timedelta(seconds=diagnosis.patience_seconds)


def _scheduler_never_answers(view: JobView) -> AttemptEnd | None:
    scheduler = view.scheduler
    if scheduler is None or view.status.scheduler_identity or scheduler.ready:
        return None
    loop = crash_loop(scheduler, view.words)
    gone_for_good = scheduler.ended
    too_often = scheduler.restarts >= MAX_RESTARTS
    started = _started_at(scheduler)
    too_long = started is not None and view.now - started >= _patience()
    if not (gone_for_good or too_often or too_long):
        return None
    if loop and loop.reason is Reason.ENVIRONMENT_FAILED:
        return _end(loop)
    message = loop.message if loop else f"scheduler pod {scheduler.ref.name} never became ready."
    return AttemptEnd(Reason.SCHEDULER_FAILED, message)


def _workers_cannot_be_made(view: JobView) -> AttemptEnd | None:
    """Return the end if every worker is rejected: a client would wait indefinitely."""
    if view.cluster is None or view.workers or view.workers_joined:
        return None
    if not view.cluster.desired_workers:
        # None is wanted any more.
        return None
    for name, rejection in sorted(view.observed.rejections.items()):
        waited = view.now - _rejected_since(view, rejection) >= _patience()
        if "-worker-" not in name:
            continue
        if rejection.kind is RejectionKind.INVALID:
            step = _wrong_quantity(view, rejection)
            step += "Correct the workers' spec and submit it again."
            return AttemptEnd(Reason.INVALID_SPEC, _message(rejection, "is rejected", step))
        if rejection.kind in (RejectionKind.REJECTED, RejectionKind.UNREACHED) and waited:
            step = _admission_step(rejection)
            return AttemptEnd(
                Reason.REJECTED, _message(rejection, "is rejected by admission", step)
            )
    return None


def _workers_wait_too_long(view: JobView) -> AttemptEnd | None:
    """Return the end if no worker can start, since an image, a volume or a name is missing."""
    if not view.workers or view.ready_workers or view.workers_joined:
        return None
    troubles = [waiting_for(pod) for pod in view.workers]
    moments = [_given_up_at(pod) for pod in view.workers]
    if any(moment is None or view.now < moment for moment in moments):
        return None
    found = next((trouble for trouble in troubles if trouble is not None), None)
    return _end(found) if found else None


def _workers_never_come(view: JobView) -> AttemptEnd | None:
    """Return the end if workers crash repeatedly and none was ever ready.

    Without this a client would wait for its first worker indefinitely.
    """
    cluster = view.cluster
    if cluster is None or view.ready_workers or view.workers_joined:
        return None
    crashing = [pod for pod in view.workers if pod.restarts >= MAX_RESTARTS]
    all_crash = bool(crashing) and len(crashing) == len(view.workers)
    if not all_crash and cluster.worker_failures < MAX_RESTARTS:
        return None
    loops = [loop for pod in view.workers if (loop := crash_loop(pod, view.words))]
    if loops and loops[0].reason is Reason.ENVIRONMENT_FAILED:
        return _end(loops[0])
    message = loops[0].message if loops else "every worker ends soon after its start."
    return AttemptEnd(Reason.WORKERS_FAILED, message)


def _pods(view: JobView) -> Iterator[PodFacts]:
    for pod in (view.runner, view.scheduler):
        if pod is not None:
            yield pod


def _waits_since(pod: PodFacts) -> datetime | None:
    """Return since when a pod's node has been starting it, without the time in a queue.

    After a restart, the time in which it was ready does not count either.
    """
    moments = (pod.started_at or pod.created_at, pod.ready_changed_at)
    return max((moment for moment in moments if moment is not None), default=None)


def _started_at(pod: PodFacts) -> datetime | None:
    """Return when a pod's main container first ran, without the time to pull its image.

    After a restart, of it or of an init container, that time is lost; then the time at which the
    kubelet first saw the pod counts.
    """
    main = pod.main
    if main is None or not main.ever_ran:
        return pod.started_at if pod.restarts else None
    return pod.started_at if main.restarts or main.started_at is None else main.started_at


def _patience() -> timedelta:
    return timedelta(seconds=PATIENCE_SECONDS)
