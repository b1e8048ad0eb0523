"""The three deadlines: of the job, of one attempt, of one start."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from daskjob.core.advice import split_step
from daskjob.core.dask import DaskState
from daskjob.core.diagnose import waiting_for
from daskjob.core.errors import RejectionKind
from daskjob.core.job_view import AttemptEnd, JobView
from daskjob.core.reasons import Reason
from daskjob.core.task_texts import NAMED
from daskjob.core.task_trouble import task_trouble

#: What to do about a deadline of a manifest where nothing better is known.
_FIND_OUT = "Raise it, or find out what is slow: daskjob why."


@dataclass(frozen=True, slots=True)
class _Cause:
    """What the job was waiting for, as the end of a sentence, and what to do about it."""

    text: str = ""
    step: str = ""


def job_deadline(view: JobView) -> AttemptEnd | None:
    """Return the end if all attempts together took too long; suspended time does not count."""
    due = job_deadline_at(view)
    if due is None or view.now < due:
        return None
    limit, cause, option = (
        view.policy.active_deadline_seconds,
        _cause(view),
        view.words.job_deadline,
    )
    if view.words.is_script:
        message = f"the script took longer than {option} allows ({limit} s){cause.text}."
        step = cause.step or f"Raise {option}{_or_else(view)}."
        return AttemptEnd(Reason.DEADLINE_EXCEEDED, f"{message} {step}")
    message = (
        f"the job was active for longer than {option} ({limit} s){cause.text}. "
        f"{cause.step or _FIND_OUT}"
    )
    return AttemptEnd(Reason.DEADLINE_EXCEEDED, message)


def job_deadline_at(view: JobView) -> datetime | None:
    """Return when the job's deadline is reached; ``None`` without one, or while suspended."""
    limit = view.policy.active_deadline_seconds
    if limit is None or view.status.suspended or view.status.start_time is None:
        return None
    return view.status.start_time + timedelta(seconds=limit - view.status.active_seconds)


def attempt_deadline(view: JobView) -> AttemptEnd | None:
    """Return the end if the current attempt took too long."""
    due = attempt_deadline_at(view)
    if due is None or view.now < due:
        return None
    limit, cause = view.policy.attempt_deadline_seconds, _cause(view)
    message = (
        f"attempt {view.status.attempt} took longer than attemptDeadlineSeconds ({limit} s)"
        f"{cause.text}. {cause.step or _FIND_OUT}"
    )
    return AttemptEnd(Reason.ATTEMPT_DEADLINE_EXCEEDED, message)


def attempt_deadline_at(view: JobView) -> datetime | None:
    """Return when the current attempt's deadline is reached."""
    limit, since = view.policy.attempt_deadline_seconds, view.status.attempt_start_time
    return None if limit is None or since is None else since + timedelta(seconds=limit)


def startup_deadline(view: JobView) -> AttemptEnd | None:
    """Return the end if the current attempt's runner took too long to start."""
    due = startup_deadline_at(view)
    if due is None or view.now < due:
        return None
    if view.job.cluster_ref and view.observed.cluster is None:
        message = (
            f"DaskCluster {view.job.cluster_ref} of clusterRef does not exist. "
            "Create it, or correct the name."
        )
        return AttemptEnd(Reason.INVALID_SPEC, message)
    limit = view.policy.startup_deadline_seconds
    message = (
        f"the runner did not start within startupDeadlineSeconds ({limit} s){_cause(view).text}. "
        "Fix what delays the start, or raise it."
    )
    return AttemptEnd(Reason.STARTUP_DEADLINE_EXCEEDED, message)


def startup_deadline_at(view: JobView) -> datetime | None:
    """Return when the current start's deadline is reached; ``None`` once the runner ran."""
    limit, since = view.policy.startup_deadline_seconds, view.status.attempt_start_time
    if limit is None or since is None or view.runner_ever_ran:
        return None
    if view.job.cluster_ref and view.runner is not None:
        # The runner is the attempt's first object; before it, the job waited for the cluster.
        since = view.runner.created_at or since
    return since + timedelta(seconds=limit)


def _cause(view: JobView) -> _Cause:
    """Return what the job was waiting for; after the deadline everything that shows it is gone."""
    if not view.attempt_runs:
        last = view.status.attempts[-1:]
        return _Cause("".join(f", while it waited to retry after {one.reason}" for one in last))
    for rejection in view.observed.rejections.values():
        if rejection.kind in (RejectionKind.QUOTA, RejectionKind.REJECTED, RejectionKind.UNREACHED):
            why = f"{rejection.name} could not be created: {rejection.message}"
            return _Cause(f", because {why}")
    for pod in (view.runner, view.scheduler, *view.workers):
        diagnosis = waiting_for(pod) if pod else None
        if diagnosis:
            detail = f": {diagnosis.detail}" if diagnosis.detail else ""
            return _Cause(f", because {diagnosis.summary}{detail}".rstrip("."), diagnosis.next_step)
    return _of_tasks(view)


def _of_tasks(view: JobView) -> _Cause:
    """Return what the tasks, or the workers that they need, were waiting for."""
    if (trouble := task_trouble(view)) is not None:
        return _Cause(f", while {view.unfinished_tasks or trouble.what}", trouble.step)
    tasks = view.unfinished_tasks
    if not tasks and _idle(view):
        return _Cause(f", while no task was running: {view.words.runner} was busy itself")
    if view.status.reason == Reason.WORKERS_FAILED:
        what, step = split_step(view.status.message)
        return _Cause(f", while {', '.join(filter(None, [tasks, what.rstrip('.')]))}", step)
    return _Cause(f", while {tasks}" if tasks else "")


def _names(dask: DaskState) -> str:
    """Return the tasks that have run longest, with a verb."""
    names = list(dict.fromkeys(task.name for task in dask.activity.running))[:NAMED]
    one = len(names) == 1 and dask.tasks.processing == 1
    return f"{', '.join(names) or 'the tasks'} {'waits' if one else 'wait'}"


def _or_else(view: JobView) -> str:
    """Return what a script may need instead of a longer deadline."""
    dask = view.observed.dask if view.cluster else None
    if dask is None:
        return ""
    if _idle(view) and not dask.tasks.processing:
        return f", or find out what {view.words.runner} was doing"
    if task_trouble(view) is not None:
        return f", or find out what {_names(dask)} for"
    if dask.tasks.processing and dask.activity.quiet_since is not None:
        may = "an Event, a Lock or a Queue, for example"
        return f", or find out what {_names(dask)} for ({may}): the workers compute nothing"
    if dask.tasks.waiting or dask.tasks.processing > max(
        dask.workers_total, len(dask.activity.running)
    ):
        return f", or add workers ({view.words.workers})"
    return ""


def _idle(view: JobView) -> bool:
    """Return whether the scheduler is known to have no tasks that are not done."""
    dask = view.observed.dask if view.cluster else None
    return dask is not None and view.runner_ever_ran and not dask.tasks.waiting
