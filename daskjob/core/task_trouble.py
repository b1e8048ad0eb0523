"""Tasks that wait for something that does not come, while the runner runs.

It is only reported, never an end: a worker may still be added, a lock may be released.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from daskjob.core.dask import DaskState
from daskjob.core.job_view import JobView
from daskjob.core.task_texts import clock, locks, running_tasks, stuck_tasks

#: How long tasks may wait for a worker that has just been added.
STUCK_SECONDS = 2
#: The same where workers are added and removed by demand.
AUTOSCALED_SECONDS = 120
#: What to do about tasks that wait for locks while nothing is computed.
_DEADLOCK = (
    "Look for a deadlock: release every lock, and acquire several in the same order in all tasks."
)


@dataclass(frozen=True, slots=True)
class TaskTrouble:
    """Why tasks wait, since when, and from when on that is reported."""

    reason: str
    #: A sentence without its full stop, and what to do; empty if that is not known.
    what: str
    step: str
    due: datetime

    @property
    def message(self) -> str:
        """The whole of it on one line."""
        return f"{self.what}. {self.step}".rstrip()


def task_trouble(view: JobView) -> TaskTrouble | None:
    """Return why tasks wait; ``None`` if unknown or if they do not."""
    found = _trouble(view)
    return found if found is not None and view.now >= found.due else None


def task_trouble_at(view: JobView) -> datetime | None:
    """Return when the result may change by the passage of time alone."""
    found = _trouble(view)
    return found.due if found is not None and found.due > view.now else None


def _trouble(view: JobView) -> TaskTrouble | None:
    dask, cluster, runner = view.observed.dask, view.cluster, view.runner
    if dask is None or cluster is None or view.job.cluster_ref or view.scheduler_was_shut_down:
        return None
    if runner is None or runner.main is None or not runner.main.running:
        return None
    return _no_workers(view, dask) or _stuck(view, dask) or _quiet(view, dask)


def _no_workers(view: JobView, dask: DaskState) -> TaskTrouble | None:
    waiting = dask.tasks.waiting
    if not waiting or dask.workers_total or view.cluster is None or view.cluster.desired_workers:
        return None
    if dask.last_transition is None:
        return None
    tasks = "1 task is waiting" if waiting == 1 else "tasks are waiting"
    what, step = f"{tasks}, and the job has no workers", f"Ask for some: {view.words.workers}."
    return TaskTrouble("NoWorkers", what, step, dask.last_transition + _stuck_time(view))


def _stuck(view: JobView, dask: DaskState) -> TaskTrouble | None:
    stuck = dask.activity.stuck
    if stuck is None or stuck.since is None or not dask.workers_total:
        return None
    cluster = view.cluster
    if cluster is not None and view.ready_workers < cluster.desired_workers:
        # One of those that are missing may be what they wait for.
        return None
    steps = [view.words.resources.format(name=resource.name) for resource in stuck.resources]
    how = f"Offer it: {', '.join(steps)}." if steps else "Check what the tasks ask for."
    return TaskTrouble("NoWorkerForTasks", stuck_tasks(stuck), how, stuck.since + _stuck_time(view))


def _quiet(view: JobView, dask: DaskState) -> TaskTrouble | None:
    since = dask.activity.quiet_since
    if since is None or not dask.tasks.processing:
        return None
    activity = dask.activity
    tasks = running_tasks(activity, view.words)
    named = f": {tasks}" if tasks else ""
    why, step = "They may wait for each other", ""
    if activity.locks:
        why, step = f"Tasks wait for {locks(activity)}", _DEADLOCK
    what = (
        f"since {clock(since)} no task has ended and the workers compute nothing{named}. "
        f"{why}, or for something outside the cluster"
    )
    patience = timedelta(seconds=view.observed.platform.quiet_seconds)
    return TaskTrouble("NoProgress", what, step, since + patience)


def _stuck_time(view: JobView) -> timedelta:
    cluster = view.job.cluster
    autoscaled = cluster is not None and any(group.autoscaling for group in cluster.all_groups)
    return timedelta(seconds=AUTOSCALED_SECONDS if autoscaled else STUCK_SECONDS)
