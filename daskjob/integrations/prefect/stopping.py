"""Why a wait for a job ends early: the flow run was cancelled, or only this process ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from prefect.context import FlowRunContext, TaskRunContext

#: Prefect's names for the end of a process whose flow run is run again by another one.
_RUN_AGAIN = ("reschedule", "relinquish")


def runs_again() -> bool:
    """Return whether another process continues the flow run, so that its job must go on.

    Prefect has announced that to this process before it sent the signal.
    """
    # Private, so that a Prefect without it is one that never announces it.
    listener = sys.modules.get("prefect._internal.control_listener")
    intent = getattr(listener, "get_intent", None)
    return callable(intent) and intent() in _RUN_AGAIN


def stop_check() -> Callable[[], bool]:
    """Return a function that returns whether the current task is to stop.

    A task that was submitted runs in a thread of its own, which no signal reaches: when the flow
    run ends, the task runner sets an event, and waits for the thread.
    """
    flow: Any = FlowRunContext.get()
    task: Any = TaskRunContext.get()
    runner = getattr(flow, "task_runner", None)
    # The task runner's own; without it, nothing is known before the job ends.
    events = getattr(runner, "_cancel_events", None)
    event = events.get(task.task_run.id) if task and isinstance(events, dict) else None
    return event.is_set if event is not None else lambda: False
