"""Why a job failed or is waiting: the most relevant answer, with evidence and the next step.

It reads only the object, so it works on a saved one as well as on a live one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from daskjob.core.manifests import Manifest, mapping, metadata
from daskjob.core.reasons import Reason
from daskjob.core.status import ConditionType, JobStatus, JobStatusWord, job_status_from

#: Maximum number of log lines shown as evidence.
EVIDENCE_LINES = 12

#: What to do, by reason; places replace some with their own commands (``next_steps``).
_NEXT_STEPS: Mapping[str, str] = {
    Reason.EXIT_CODE: "Read the end of the log.",
    Reason.OOM_KILLED: "Give the runner more memory, or keep the data on the workers.",
    Reason.SCHEDULER_FAILED: "Read the scheduler's log.",
    Reason.WORKERS_FAILED: "Read a worker's log.",
    Reason.EVICTED: "Request what the pod needs, or run it where pods are not evicted.",
    Reason.NODE_LOST: "Check the node, then run the job again.",
    Reason.RUNNER_LOST: "Find out what killed the runner, then run the job again.",
    Reason.SCHEDULER_LOST: "Give the scheduler more memory, or send it smaller graphs.",
    Reason.IMAGE_PULL: "Check the image's name and the pull secrets.",
    Reason.UNSCHEDULABLE: "Request less, or add nodes.",
    Reason.QUOTA_EXCEEDED: "Request less, or ask for a larger quota.",
    Reason.REJECTED: "Ask the administrator of the admission policy.",
    Reason.VOLUME_MOUNT: "Check the volume claim.",
    Reason.CONFIG_MISSING: "Create the missing Secret or ConfigMap.",
    Reason.CONTAINER_FAILED: "Check the pod's spec and its node.",
    Reason.DEADLINE_EXCEEDED: "Raise activeDeadlineSeconds, or add workers.",
    Reason.ATTEMPT_DEADLINE_EXCEEDED: "Raise attemptDeadlineSeconds, or add workers.",
    Reason.STARTUP_DEADLINE_EXCEEDED: "Fix what delays the start, or raise startupDeadlineSeconds.",
    Reason.STALLED: "Look for tasks that no worker can run.",
    Reason.CANCELLED: "Run it again if needed.",
    Reason.INVALID_SPEC: "Correct the manifest: daskjob validate FILE.",
    Reason.NAME_CONFLICT: "Choose another name.",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer, the evidence for it, and what to do."""

    headline: str
    evidence: tuple[str, ...] = ()
    next_step: str = ""


def explain(
    job: Manifest, *, log_tail: str = "", next_steps: Mapping[str, str] | None = None
) -> Explanation:
    """Return the best explanation of the job's state.

    ``next_steps`` replaces the steps for some reasons; ``{name}`` in them is the job's name.
    """
    name = str(metadata(job).get("name", ""))
    steps = {
        reason: step.format(name=name)
        for reason, step in {**_NEXT_STEPS, **(next_steps or {})}.items()
    }
    status = job_status_from(job.get("status"))
    evidence = [*_attempts(status), *_conditions(status), *_report(status)]
    if status.succeeded:
        return Explanation(f"{name} succeeded{_took(status)}.", tuple(_report(status)))
    if status.job_status is JobStatusWord.FAILED:
        reason = _root_reason(status)
        step = steps.get(reason, "")
        lines = _log_evidence(log_tail) if reason in (Reason.EXIT_CODE, Reason.OOM_KILLED) else []
        headline = f"{name} failed ({status.reason}): {status.message}"
        return Explanation(headline, (*lines, *evidence), step)
    return _unfinished(name, status, evidence, steps)


def _unfinished(
    name: str, status: JobStatus, evidence: list[str], steps: Mapping[str, str]
) -> Explanation:
    if status.job_status is None:
        step = "On Kubernetes, check that an operator is running and watches the job's namespace."
        return Explanation(f"{name} has not been picked up yet: it has no status.", (), step)
    if status.suspended:
        step = "To resume it, set spec.suspend of the DaskJob to false."
        return Explanation(f"{name} is suspended and has no pods.", tuple(evidence), step)
    if status.reason and status.message and status.attempt_start_time:
        step = steps.get(status.reason, "")
        headline = f"{name} is waiting ({status.reason}): {status.message}"
        return Explanation(headline, tuple(evidence), step)
    if status.attempts and status.attempt_start_time is None:
        last = status.attempts[-1]
        headline = f"{name} is waiting for attempt {status.attempt}: {last.reason}: {last.message}"
        return Explanation(headline, tuple(evidence), steps.get(last.reason, ""))
    stalled = status.condition(ConditionType.STALLED)
    if stalled and stalled.status:
        step = steps[Reason.STALLED]
        headline = f"{name} is running but making no progress: {stalled.message}"
        return Explanation(headline, tuple(evidence), step)
    workers = status.workers
    if workers is not None and workers.desired and not workers.ready and _runs(status):
        headline = f"{name} is running, but none of its {workers.desired} workers is ready."
        ready = status.condition(ConditionType.WORKERS_READY)
        step = steps.get(ready.reason if ready else "", "Check the pods of its workers.")
        return Explanation(headline, tuple(evidence), step)
    headline = f"{name} is {status.phase or 'Pending'}; no problems found."
    return Explanation(headline, tuple(evidence))


def _runs(status: JobStatus) -> bool:
    return status.job_status is JobStatusWord.RUNNING


def _root_reason(status: JobStatus) -> str:
    """Return the reason; for ``BackoffLimitExceeded``, that of the last attempt."""
    if status.reason == Reason.BACKOFF_LIMIT_EXCEEDED and status.attempts:
        return status.attempts[-1].reason
    return status.reason


def _took(status: JobStatus) -> str:
    if status.start_time is None or status.end_time is None:
        return ""
    return f" after {status.end_time - status.start_time + timedelta()}"


def _attempts(status: JobStatus) -> list[str]:
    if len(status.attempts) < 2:
        return []
    return [
        f"attempt {a.number}: {a.reason}"
        + (f", exit code {a.exit_code}" if a.exit_code is not None else "")
        + f": {a.message}"
        for a in status.attempts
    ]


def _conditions(status: JobStatus) -> list[str]:
    expected = ("Starting", "Ended", "Started", "Resumed", "Progress")
    return [
        f"{c.type} is false ({c.reason}): {c.message}"
        for c in status.conditions
        if not c.status and c.reason not in expected and not status.succeeded
    ]


def _report(status: JobStatus) -> list[str]:
    report = status.report or {}
    found = []
    tasks, workers = mapping(report.get("tasks")), mapping(report.get("workers"))
    if tasks.get("total"):
        found.append(
            f"tasks: {tasks.get('done')} of {tasks.get('total')} done, {tasks.get('erred')} erred"
        )
    if workers.get("lost"):
        found.append(f"{workers.get('lost')} workers were lost while it ran")
    return found


def _log_evidence(log_tail: str) -> list[str]:
    """Return the last traceback in the end of a log, or else its last lines."""
    lines = [line.rstrip() for line in log_tail.splitlines() if line.strip()]
    starts = [i for i, line in enumerate(lines) if line.startswith("Traceback (most recent call")]
    shown: Sequence[str] = lines[starts[-1] :] if starts else lines
    return [f"log: {line}" for line in shown[-EVIDENCE_LINES:]]
