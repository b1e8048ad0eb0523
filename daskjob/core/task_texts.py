"""What a scheduler's tasks do and wait for, in sentences for people."""

from __future__ import annotations

from datetime import UTC, datetime

from daskjob.core.dask import Activity, DaskState, RunningTask, StuckTasks, WantedResource
from daskjob.core.manifests import format_time
from daskjob.core.wording import Words

#: The number of running tasks that are named.
NAMED = 3


def unfinished_tasks(dask: DaskState, words: Words, now: datetime) -> str:
    """Return what is not done, for the message of an end; empty if there is nothing."""
    tasks, parts = dask.tasks, []
    if tasks.no_worker:
        why = f" ({stuck_tasks(dask.activity.stuck)})" if dask.activity.stuck else ""
        parts.append(
            f"{_tasks(tasks.no_worker)} that no worker can run {_is(tasks.no_worker)} waiting{why}"
        )
    if tasks.processing:
        named = running_tasks(dask.activity, words, now)
        where = f" ({named})" if named else ""
        parts.append(f"{_tasks(tasks.processing)} {_is(tasks.processing)} being processed{where}")
        if dask.activity.locks:
            parts.append(f"tasks wait for {locks(dask.activity)}")
    if parts and not dask.workers:
        parts.append("no worker is registered")
    if parts and not (tasks.done or tasks.erred):
        parts.append("no task has finished")
    elif parts and dask.last_transition is not None:
        parts.append(f"the last task made progress at {format_time(dask.last_transition)}")
    return ", ".join(parts)


def running_tasks(activity: Activity, words: Words, now: datetime | None = None) -> str:
    """Return the tasks that have run longest, where, and for how long or since when."""
    rows = activity.running[:NAMED]
    return ", ".join(_running(row, words, now) for row in rows)


def _running(task: RunningTask, words: Words, now: datetime | None) -> str:
    where = f"{task.name} on {words.worker(task.worker)}"
    if task.since is None:
        return where
    if now is None:
        return f"{where} since {clock(task.since)}"
    return f"{where} for {max(int((now - task.since).total_seconds()), 0)} s"


def locks(activity: Activity) -> str:
    """Return the locks that tasks wait for: ``the locks 'a' and 'b'``."""
    names = [repr(name) for name in activity.locks]
    if len(names) < 2:
        return f"the lock {''.join(names)}"
    return f"the locks {', '.join(names[:-1])} and {names[-1]}"


def stuck_tasks(stuck: StuckTasks) -> str:
    """Return what tasks ask for that no worker has."""
    names = " and ".join(stuck.names) or "tasks"
    if stuck.resources:
        need = "need" if len(stuck.names) > 1 else "needs"
        return f"{names} {need} {', '.join(_wanted(resource) for resource in stuck.resources)}"
    if stuck.workers:
        return f"{names} may only run on {', '.join(stuck.workers)}, which is not registered"
    return f"no worker can run {names}"


def _wanted(resource: WantedResource) -> str:
    amount, name = f"{resource.amount:g}", resource.name
    if not resource.offered:
        return f"the resource {name} ({amount}), which no worker offers"
    if resource.offered < resource.amount:
        return (
            f"{amount} of the resource {name}, and no worker offers more than {resource.offered:g}"
        )
    return f"{amount} of the resource {name}"


def clock(moment: datetime) -> str:
    """Return the time of day; messages that last have no durations, which would change them."""
    return f"{moment.astimezone(UTC):%H:%M:%S} UTC"


def _tasks(count: int) -> str:
    return f"{count} task" if count == 1 else f"{count} tasks"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
