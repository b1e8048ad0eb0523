"""The status of a running job: ``jobStatus``, conditions, counts, and why it is waiting."""

from __future__ import annotations

from datetime import datetime, timedelta

from daskjob.core import names
from daskjob.core.dask import TaskCounts
from daskjob.core.decide.common import first_problem
from daskjob.core.decide.status_timing import SETTLED, Change, compared, due_at
from daskjob.core.desired.pods import dashboard_url, scheduler_address
from daskjob.core.desired.service import dashboard_port
from daskjob.core.diagnose import Diagnosis, crash_loop, rejected, waiting_for
from daskjob.core.job_view import JobView
from daskjob.core.manifests import whole_seconds
from daskjob.core.observed import Rejection
from daskjob.core.pods import PodFacts
from daskjob.core.policies.cleanup import blocked_since, in_the_way
from daskjob.core.policies.memory import overcommitted
from daskjob.core.policies.stall import stall
from daskjob.core.spec.policy import OnSchedulerLoss
from daskjob.core.status import (
    ANSWERS_AGAIN,
    SHUT_DOWN,
    STARTING,
    ConditionType,
    JobStatus,
    JobStatusWord,
    Progress,
    Workers,
    derived_phase,
    shortened_message,
)
from daskjob.core.task_trouble import task_trouble
from daskjob.core.values import updated


def reported_status(view: JobView) -> JobStatus:
    """Return the status for the observed state."""
    status = _with_template_note(view)
    if not view.attempt_runs:
        status = _with_blocked(view, status)
        return updated(status, phase=str(derived_phase(status)))
    status = status.without_condition(ConditionType.CLEANUP_BLOCKED)
    status = _with_objects(view, status)
    if view.cluster is None or not view.cluster.unmanaged:
        status = _with_scheduler(view, status)
        status = _with_workers(view, status)
    status = _with_runner(view, status)
    status = _with_stall(view, status)
    status = _with_progress(view, status)
    reason, message = _trouble(view)
    status = updated(status, reason=reason, message=shortened_message(message))
    return updated(status, phase=str(derived_phase(status)))


def write_due_at(view: JobView, new: JobStatus) -> datetime:
    """Return when a changed status is written.

    ``Running`` is reported together with the scheduler and the workers: at once if all are ready,
    or else 5 s after the runner's start.
    """
    old, runner = view.observed.status, view.runner
    starts_to_run = new.job_status is JobStatusWord.RUNNING and old.job_status is not new.job_status
    change = compared(old, new, _decided, message="", workers_joined_time=None)
    if (new.reason and new.reason != old.reason) or (starts_to_run and _is_complete(new)):
        change = Change.URGENT
    if new.scheduler_was_shut_down and not old.scheduler_was_shut_down:
        # The next restart of its pod would hide it.
        change = Change.URGENT
    if _may_forget_workers(view, new):
        change = Change.URGENT
    started = runner.main.started_at if starts_to_run and runner and runner.main else None
    return due_at(
        change,
        [pod for pod in (runner, view.scheduler, *view.workers) if pod is not None],
        view.now,
        written_at=old.updated_at,
        more_to_come=_more_to_come(old.workers, new.workers),
        latest=started + SETTLED if started else None,
    )


def needs_write(view: JobView, new: JobStatus) -> bool:
    """Return whether a status differs from the last written one in more than the pods show too."""
    old = view.observed.status
    if _may_forget_workers(view, new):
        return True
    return updated(new, workers_joined_time=old.workers_joined_time) != old


def _may_forget_workers(view: JobView, new: JobStatus) -> bool:
    """Return whether the pods that show that workers were at work may soon be gone."""
    if view.observed.status.workers_joined_time or not new.workers_joined_time:
        return False
    return not any(pod.ready and not pod.deleting for pod in view.workers)


def _more_to_come(old: Workers | None, new: Workers | None) -> bool:
    return new is not None and (old.ready if old else 0) < new.ready < new.desired


def _decided(status: JobStatus) -> JobStatus:
    """Return the status without fields that follow the pods: counts, progress of a start."""
    started = status.job_status is JobStatusWord.RUNNING
    return updated(
        status,
        job_status=JobStatusWord.CLUSTER_CREATED if started else status.job_status,
        phase="",
        reason="",
        message="",
        scheduler_identity="",
        workers=None,
        workers_joined_time=None,
        progress=None,
    )


def _is_complete(status: JobStatus) -> bool:
    """Return whether the scheduler and the workers, if there are any, are ready."""
    parts = (ConditionType.SCHEDULER_READY, ConditionType.WORKERS_READY)
    conditions = [status.condition(part) for part in parts]
    return all(condition.status for condition in conditions if condition is not None)


def _with_template_note(view: JobView) -> JobStatus:
    """Record a change of a template after the start, so that it is reported once."""
    status, current = view.status, view.job.template_hash
    if not view.observed.status.started or current == status.spec_hash:
        return status
    return updated(status, ignored_spec_hash=current)


def _with_blocked(view: JobView, status: JobStatus) -> JobStatus:
    things = in_the_way(view)
    if not things:
        return status.without_condition(ConditionType.CLEANUP_BLOCKED)
    since = blocked_since(view)
    if since is None or view.now - since < timedelta(seconds=60):
        return status
    return status.with_condition(
        ConditionType.CLEANUP_BLOCKED,
        status=True,
        reason="ObjectsRemain",
        message=f"waiting for {', '.join(things)} of an earlier attempt to be deleted.",
        now=whole_seconds(view.now),
    )


def _with_objects(view: JobView, status: JobStatus) -> JobStatus:
    cluster, runner = view.cluster, view.runner
    if cluster is not None:
        status = updated(
            status,
            cluster_name=cluster.ref.name,
            scheduler_address=_address(view),
            dashboard_url=_dashboard(view),
        )
    if runner is not None:
        status = updated(status, job_runner_pod_name=runner.ref.name)
    word = JobStatusWord.JOB_CREATED
    if view.runner_ever_ran:
        word = JobStatusWord.RUNNING
    elif cluster is not None:
        word = JobStatusWord.CLUSTER_CREATED
    if word is not JobStatusWord.JOB_CREATED and status.condition(ConditionType.RETRYING):
        status = status.with_condition(
            ConditionType.RETRYING,
            status=False,
            reason="Started",
            message=f"attempt {status.attempt} has started.",
            now=whole_seconds(view.now),
        )
    return updated(status, job_status=word)


def _address(view: JobView) -> str:
    job = view.job
    if job.cluster is None:
        service = names.scheduler_service_name(job.cluster_name)
        return f"tcp://{service}.{job.meta.namespace}.svc:8786"
    platform, namespace = view.observed.platform, job.meta.namespace
    return scheduler_address(platform, job.cluster_name, namespace, job.cluster.scheduler)


def _dashboard(view: JobView) -> str:
    job = view.job
    if job.cluster is None:
        return ""
    port = dashboard_port(job.cluster.service)
    platform, namespace = view.observed.platform, job.meta.namespace
    return dashboard_url(platform, job.cluster_name, namespace, job.cluster.scheduler, port)


def _with_scheduler(view: JobView, status: JobStatus) -> JobStatus:
    scheduler, now = view.scheduler, whole_seconds(view.now)
    if view.scheduler_was_shut_down:
        return _after_shutdown(view, status)
    if scheduler is None:
        problem = _rejection_of(view, names.scheduler_pod_name(view.job.cluster_name))
    else:
        problem = crash_loop(scheduler, view.words) or waiting_for(scheduler)
    if scheduler is not None and scheduler.ready:
        ready, reason, message = True, "Answers", f"pod {scheduler.ref.name} is ready."
    elif problem:
        ready, reason, message = False, str(problem.reason), problem.message
    elif scheduler is None and status.scheduler_identity:
        ready, reason, message = False, "Missing", "the scheduler pod is gone."
    else:
        ready, reason, message = False, STARTING, "the scheduler is not ready yet."
    if ready and scheduler is not None:
        known = status.scheduler_identity
        follows = view.policy.on_scheduler_loss is OnSchedulerLoss.IGNORE
        identity = scheduler.identity if follows or not known else known
        status = updated(status, scheduler_identity=identity)
    return status.with_condition(
        ConditionType.SCHEDULER_READY, status=ready, reason=reason, message=message, now=now
    )


def _after_shutdown(view: JobView, status: JobStatus) -> JobStatus:
    """Return the status with the shutdown of the scheduler, which later passes rely on."""
    scheduler, name = view.scheduler, names.scheduler_pod_name(view.job.cluster_name)
    known = status.scheduler_identity
    answers = scheduler is not None and scheduler.ready and scheduler.identity != known
    if answers:
        reason = ANSWERS_AGAIN
        message = f"pod {name} was shut down; restarted, it is ready, without the earlier tasks."
    else:
        reason, message = SHUT_DOWN, f"pod {name} was shut down: it exited with code 0."
    return status.with_condition(
        ConditionType.SCHEDULER_READY,
        status=answers,
        reason=reason,
        message=message,
        now=whole_seconds(view.now),
    )


def _with_workers(view: JobView, status: JobStatus) -> JobStatus:
    cluster, now = view.cluster, whole_seconds(view.now)
    if cluster is None:
        return updated(status, workers=None)
    desired, ready = cluster.desired_workers, view.ready_workers
    joined = now if view.workers_joined else None
    status = updated(
        status,
        workers=Workers(desired, ready),
        workers_joined_time=status.workers_joined_time or joined,
    )
    enough = ready >= desired and not _too_few(view)
    if enough:
        reason, message = "AllReady", f"{ready} of {desired} workers are ready."
    else:
        reason, message = _why_not_ready(view)
        message = f"{ready} of {desired} workers are ready. {message}".strip()
    return status.with_condition(
        ConditionType.WORKERS_READY,
        status=enough,
        reason=reason,
        message=message,
        now=now,
    )


def _too_few(view: JobView) -> int:
    """Return ``minAvailableWorkers`` if the runner waits for more workers than are desired.

    Scaling down is allowed at any time; without this a waiting job would report that all is ready.
    """
    minimum = view.policy.min_available_workers or 0
    cluster = view.cluster
    if cluster is None or view.runner_ever_ran or cluster.desired_workers >= minimum:
        return 0
    return minimum


def _why_not_ready(view: JobView) -> tuple[str, str]:
    """Return why workers are missing: the first problem among them, in a stable order."""
    if view.scheduler_was_shut_down:
        return SHUT_DOWN, "Workers end with their scheduler, which was shut down."
    if minimum := _too_few(view):
        text = f"The runner waits for {minimum} (minAvailableWorkers). Scale the workers up."
        return "TooFewWorkers", text
    rejection = rejected(_rejections(view, of_workers=True))
    if rejection:
        return str(rejection.reason), rejection.message
    if problem := first_problem(sorted(view.workers, key=lambda pod: pod.ref.name), view.words):
        return str(problem.reason), problem.message
    return STARTING, ""


def _rejections(view: JobView, *, of_workers: bool) -> dict[str, Rejection]:
    every = view.observed.rejections.items()
    return {name: rejection for name, rejection in every if ("-worker-" in name) is of_workers}


def _rejection_of(view: JobView, pod: str) -> Diagnosis | None:
    """Return why a pod could not be created; ``None`` if not rejected, or only for now."""
    found = view.observed.rejections.get(f"Pod/{pod}")
    return rejected({pod: found}) if found else None


def _with_runner(view: JobView, status: JobStatus) -> JobStatus:
    runner, now = view.runner, whole_seconds(view.now)
    if runner is None:
        problem = _rejection_of(view, names.runner_name(view.job.meta.name, status.attempt))
        ready, reason = False, str(problem.reason) if problem else STARTING
        message = problem.message if problem else "the runner pod does not exist yet."
    elif view.runner_ever_ran:
        ready, reason, message = True, "Running", f"{_named(view, runner)} is running."
    else:
        problem = waiting_for(runner)
        ready, reason = False, str(problem.reason) if problem else STARTING
        message = problem.message if problem else f"{_named(view, runner)} is starting."
    return status.with_condition(
        ConditionType.RUNNER_READY, status=ready, reason=reason, message=message, now=now
    )


def _named(view: JobView, runner: PodFacts) -> str:
    return view.words.runner if view.words.is_script else f"pod {runner.ref.name}"


def _with_stall(view: JobView, status: JobStatus) -> JobStatus:
    found, now = stall(view), whole_seconds(view.now)
    if view.policy.stall_deadline_seconds and view.job.cluster_ref and view.runner_ever_ran:
        message = (
            f"this job's tasks cannot be distinguished from those of other jobs on DaskCluster "
            f"{view.job.cluster_ref}; stalls are not detected."
        )
        return status.with_condition(
            ConditionType.STALLED, status=False, reason="NotKnown", message=message, now=now
        )
    if found is not None and found.stalled:
        limit = view.policy.stall_deadline_seconds
        tasks = view.unfinished_tasks or "it may be busy outside Dask"
        message = f"no task made progress for {limit} s while the runner was running; {tasks}."
        return status.with_condition(
            ConditionType.STALLED, status=True, reason="NoProgress", message=message, now=now
        )
    if status.condition(ConditionType.STALLED) is None:
        return status
    return status.with_condition(
        ConditionType.STALLED,
        status=False,
        reason="Progress",
        message="tasks make progress.",
        now=now,
    )


def _with_progress(view: JobView, status: JobStatus) -> JobStatus:
    dask, interval = view.observed.dask, view.policy.progress_interval_seconds
    if dask is None or not interval or not view.runner_ever_ran:
        return status
    old, tasks = status.progress, dask.tasks
    if view.scheduler_was_shut_down:
        return _with_last_progress(view, status, tasks)
    counts = (tasks.total, tasks.done, tasks.processing, tasks.erred)
    if old is not None:
        same = (old.total, old.done, old.processing, old.erred) == counts
        recent = old.updated_at and view.now - old.updated_at < timedelta(seconds=interval)
        if same or recent:
            return status
    elif not tasks.total:
        return status
    return updated(status, progress=Progress(*counts, updated_at=whole_seconds(view.now)))


def _with_last_progress(view: JobView, status: JobStatus, tasks: TaskCounts) -> JobStatus:
    """Return the status with the last known counts of a scheduler that was shut down.

    They are looked at once, when the shutdown is first observed: a restarted scheduler answers
    only later. It has fewer tasks, should it be observed first.
    """
    if view.observed.status.scheduler_was_shut_down:
        return status
    if not tasks.total or (status.progress and tasks.total < status.progress.total):
        return status
    counts = (tasks.total, tasks.done, tasks.processing, tasks.erred)
    return updated(status, progress=Progress(*counts, updated_at=whole_seconds(view.now)))


def _trouble(view: JobView) -> tuple[str, str]:
    """Return why the attempt is waiting, as reason and message; empty if it is not."""
    if view.scheduler_was_shut_down:
        return "", ""
    rejection = rejected(_rejections(view, of_workers=False))
    if rejection:
        return str(rejection.reason), rejection.message
    if view.job.cluster_ref and view.observed.cluster is None:
        return "WaitingForCluster", f"DaskCluster {view.job.cluster_ref} does not exist yet."
    for pod in (view.runner, view.scheduler):
        problem = waiting_for(pod) if pod else None
        if problem:
            return str(problem.reason), problem.message
    if view.scheduler and not view.scheduler.ready:
        loop = crash_loop(view.scheduler, view.words)
        if loop:
            return str(loop.reason), loop.message
    cluster = view.cluster
    if cluster is not None and cluster.unmanaged:
        return "", ""
    missing = cluster is not None and view.ready_workers < cluster.desired_workers
    if missing or _too_few(view):
        why, message = _why_not_ready(view)
        if message:
            return why, message
    waiting, (reason, note) = task_trouble(view), overcommitted(view)
    if waiting is not None:
        return waiting.reason, f"{waiting.message} {note}".strip()
    return reason, note
