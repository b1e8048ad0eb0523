"""Why a job is as it is: one ranked answer with evidence and the next step.

No I/O here, so that it works on a saved object as well as on a live one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from daskjob.core.manifests import Manifest, mapping, metadata
from daskjob.core.reasons import Reason
from daskjob.core.status import ConditionType, JobStatus, JobStatusWord, job_status_from

#: Lines of a log that are shown as evidence.
EVIDENCE_LINES = 12

#: What to do, by reason; a place where jobs run puts it in its own commands (``next_steps``).
_NEXT_STEPS: Mapping[str, str] = {
    Reason.EXIT_CODE: "Read the end of the log.",
    Reason.OOM_KILLED: "Give the runner more memory, or leave the data on the workers.",
    Reason.SCHEDULER_FAILED: "Read the scheduler's log.",
    Reason.WORKERS_FAILED: "Read a worker's log.",
    Reason.EVICTED: "Request what the pod needs, or run it where nothing is evicted.",
    Reason.NODE_LOST: "Look at the node; then run the job again.",
    Reason.RUNNER_LOST: "Run the job again; find out what killed it.",
    Reason.SCHEDULER_LOST: "Give the scheduler more memory, or send it smaller graphs.",
    Reason.IMAGE_PULL: "Check the image's name and the pull secrets.",
    Reason.UNSCHEDULABLE: "Ask for less, or add nodes.",
    Reason.QUOTA_EXCEEDED: "Ask for less, or for a larger quota.",
    Reason.REJECTED: "Ask whoever runs the admission policy.",
    Reason.VOLUME_MOUNT: "Look at the volume claim.",
    Reason.CONFIG_MISSING: "Create the Secret or ConfigMap that is named.",
    Reason.CONTAINER_FAILED: "Look at the pod's spec and its node.",
    Reason.DEADLINE_EXCEEDED: "Raise activeDeadlineSeconds, or add workers.",
    Reason.ATTEMPT_DEADLINE_EXCEEDED: "Raise attemptDeadlineSeconds, or add workers.",
    Reason.STARTUP_DEADLINE_EXCEEDED: "Remove what is in the way, or raise startupDeadlineSeconds.",
    Reason.STALLED: "Look for tasks that no worker can run.",
    Reason.CANCELLED: "Run it again when it is wanted.",
    Reason.INVALID_SPEC: "Correct the manifest: daskjob validate FILE.",
    Reason.NAME_CONFLICT: "Choose another name.",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is so, what shows it, and what to do."""

    headline: str
    evidence: tuple[str, ...] = ()
    next_step: str = ""


def explain(
    job: Manifest, *, log_tail: str = "", next_steps: Mapping[str, str] | None = None
) -> Explanation:
    """Return the best answer to "why is the job as it is?".

    ``next_steps`` replaces what to do for some reasons; ``{name}`` in it is the job's name.
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
        step = "Is an operator running that watches its namespace?"
        return Explanation(f"{name} was not looked at by anybody yet.", (), step)
    if status.suspended:
        step = "Set spec.suspend to false."
        return Explanation(f"{name} is suspended and holds no pods.", tuple(evidence), step)
    if status.reason and status.message and status.attempt_start_time:
        step = steps.get(status.reason, "")
        headline = f"{name} waits ({status.reason}): {status.message}"
        return Explanation(headline, tuple(evidence), step)
    if status.attempts and status.attempt_start_time is None:
        last = status.attempts[-1]
        headline = f"{name} waits for attempt {status.attempt}: {last.reason}: {last.message}"
        return Explanation(headline, tuple(evidence), steps.get(last.reason, ""))
    stalled = status.condition(ConditionType.STALLED)
    if stalled and stalled.status:
        step = steps[Reason.STALLED]
        return Explanation(
            f"{name} runs and stands still: {stalled.message}", tuple(evidence), step
        )
    return Explanation(f"{name} is {status.phase or 'Pending'}; nothing is wrong.", tuple(evidence))


def _root_reason(status: JobStatus) -> str:
    """Return the reason behind ``BackoffLimitExceeded``: that of the last attempt."""
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
    quiet = ("Starting", "Ended", "Started", "Resumed", "Progress")
    return [
        f"{c.type} is false ({c.reason}): {c.message}"
        for c in status.conditions
        if not c.status and c.reason not in quiet and not status.succeeded
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
    """Return the last traceback of a log's end, or its last lines."""
    lines = [line.rstrip() for line in log_tail.splitlines() if line.strip()]
    starts = [i for i, line in enumerate(lines) if line.startswith("Traceback (most recent call")]
    shown: Sequence[str] = lines[starts[-1] :] if starts else lines
    return [f"log: {line}" for line in shown[-EVIDENCE_LINES:]]
