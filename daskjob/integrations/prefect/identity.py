"""The identity of a job: its flow run, and the call in it.

A retry of the task, and another run of the flow run after a crash, find the same job. The number of
the task (Prefect's dynamic key) is not part of it: tasks that are submitted together get their
numbers in any order, so that one would take the job of another. What is counted are calls with the
same manifest, between which it makes no difference.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from prefect.context import FlowRunContext, TaskRunContext

from daskjob.core import names
from daskjob.core.manifests import Manifest, fingerprint, metadata
from daskjob.submit.generations import Identity

#: The labels of a job by which the hooks find it. Not ``prefect.io/flow-run-id``: a job's labels
#: are those of all its pods, and prefect-kubernetes takes each pod with that one for a flow run.
LABEL_FLOW_RUN = f"{names.API_GROUP}/prefect-flow-run"
LABEL_TASK_RUN = f"{names.API_GROUP}/prefect-task-run"
ANNOTATION_FLOW = f"{names.API_GROUP}/prefect-flow"
ANNOTATION_TASK = f"{names.API_GROUP}/prefect-task"

#: The prefix of a job whose manifest has no name.
PREFIX = "prefect"


@dataclass(frozen=True, slots=True)
class Run:
    """Who submits a job."""

    flow_run_id: str = ""
    flow_name: str = ""
    #: Of the flow run: it counts again from 0 in each.
    try_number: int = 0
    task_run_id: str = ""
    task_key: str = ""
    task_name: str = ""
    task_try: int = 0
    #: The task runs in another process than the flow, which knows no numbers.
    detached: bool = False


def current_run() -> Run | None:
    """Return the run that calls; ``None``: outside of all flows and tasks."""
    flow: Any = FlowRunContext.get()
    task: Any = TaskRunContext.get()
    flow_run = getattr(flow, "flow_run", None)
    if flow_run is None and task is None:
        return None
    task_run = getattr(task, "task_run", None)
    found = getattr(flow_run, "id", None) or getattr(task_run, "flow_run_id", None)
    return Run(
        flow_run_id=str(found or ""),
        flow_name=str(getattr(getattr(flow, "flow", None), "name", "") or ""),
        try_number=int(getattr(flow_run, "run_count", 0) or 0),
        task_run_id=str(task_run.id) if task_run else "",
        task_key=str(getattr(getattr(task, "task", None), "task_key", "") or ""),
        task_name=str(getattr(task_run, "name", "") or ""),
        task_try=int(getattr(task_run, "run_count", 0) or 0),
        detached=flow_run is None or bool(getattr(flow, "detached", False)),
    )


def identity_of(run: Run, manifest: Manifest) -> Identity:
    """Return the identity of a job that this run submits now."""
    content = fingerprint(manifest)
    call = run.task_run_id if run.detached else str(_numbers.number(run, content))
    meta = metadata(manifest)
    label = str(meta.get("name") or meta.get("generateName") or PREFIX).strip("-")
    return Identity(
        orchestrator="prefect",
        parts=(run.flow_run_id, run.task_key, content, call),
        prefix=label,
        labels=_present({LABEL_FLOW_RUN: run.flow_run_id, LABEL_TASK_RUN: run.task_run_id}),
        annotations=_present({ANNOTATION_FLOW: run.flow_name, ANNOTATION_TASK: run.task_name}),
    )


def _present(values: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}


class _Numbers:
    """Counts the calls of a try of a flow run that submit the same manifest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[tuple[str, int, str, str], list[tuple[str, int]]] = {}
        self._within: dict[tuple[str, int, str, str], int] = {}

    def number(self, run: Run, content: str) -> int:
        """Return the number of this call: in a task's retry, that of its first try."""
        with self._lock:
            within = (run.task_run_id, run.task_try, run.flow_run_id, content)
            nth = self._within.get(within, 0) if run.task_run_id else 0
            self._within[within] = nth + 1
            calls = self._calls.setdefault(
                (run.flow_run_id, run.try_number, run.task_key, content), []
            )
            call = (run.task_run_id, nth)
            if run.task_run_id and call in calls:
                return calls.index(call)
            calls.append(call)
            return len(calls) - 1


_numbers = _Numbers()
