"""Why a job failed or is waiting: the most relevant answer, with evidence and the next step.

It reads only the object, so it works on a saved one as well as on a live one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from daskjob.core.advice import advice, split_step
from daskjob.core.dask import losses_of
from daskjob.core.last_exception import last_exception, plain_lines
from daskjob.core.manifests import Manifest, integer, mapping, metadata
from daskjob.core.quantity import duration
from daskjob.core.reasons import Reason
from daskjob.core.status import (
    Attempt,
    Condition,
    ConditionType,
    JobStatus,
    JobStatusWord,
    job_status_from,
)
from daskjob.core.wording import Words, words_for
from daskjob.core.work import work_from

#: Maximum number of log lines shown as evidence.
EVIDENCE_LINES = 12
#: A status is written up to this long after the pods changed.
AFTERMATH = timedelta(seconds=5)

#: What to do, by reason; places replace some with their own commands (``next_steps``).
_NEXT_STEPS: Mapping[str, str] = {
    Reason.EXIT_CODE: "Read what it printed before: the log of the runner.",
    Reason.OOM_KILLED: "Give the runner more memory, or keep the data on the workers.",
    Reason.SCHEDULER_FAILED: "Read the scheduler's log.",
    Reason.WORKERS_FAILED: "Read a worker's log.",
    Reason.ENVIRONMENT_FAILED: "Correct the requirements or the code, or use another image.",
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
    Reason.DEADLINE_EXCEEDED: "Raise activeDeadlineSeconds, or find out what is slow.",
    Reason.ATTEMPT_DEADLINE_EXCEEDED: "Raise attemptDeadlineSeconds, or find out what is slow.",
    Reason.STARTUP_DEADLINE_EXCEEDED: "Fix what delays the start, or raise startupDeadlineSeconds.",
    Reason.STALLED: "Look for tasks that no worker can run.",
    Reason.CANCELLED: "Run it again if needed.",
    Reason.INVALID_SPEC: "Correct the manifest: daskjob validate FILE.",
    Reason.NAME_CONFLICT: "Choose another name.",
}


#: The same in the words of who ran a script.
_NEXT_STEPS_OF_SCRIPTS: Mapping[str, str] = {
    Reason.EXIT_CODE: "Read what it printed before: daskjob logs {name}.",
    Reason.OOM_KILLED: "Keep the data on the workers: do not compute() all of it in the script.",
    Reason.DEADLINE_EXCEEDED: "Raise {deadline}, or find out what is slow.",
    Reason.RUNNER_LOST: "Find out what killed the process, then run the script again.",
    Reason.SCHEDULER_LOST: "Send it smaller graphs, or find out what killed it; then run it again.",
    Reason.INVALID_SPEC: "Correct the options of the command.",
}

#: States of running jobs, by their reason to wait.
_STATES = {
    "NoProgress": "is running but making no progress",
    "NoWorkers": "is running, but cannot go on",
    "NoWorkerForTasks": "is running, but some tasks cannot",
    "MemoryOvercommitted": "is running, with a risk",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer, the evidence for it, and what to do."""

    headline: str
    evidence: tuple[str, ...] = ()
    next_step: str = ""
    #: A command that shows more, or does the next step; empty if there is none.
    command: str = ""


def explain(
    job: Manifest,
    *,
    log_tail: str = "",
    next_steps: Mapping[str, str] | None = None,
    options: str = "",
) -> Explanation:
    """Return the best explanation of the job's state.

    ``next_steps`` replaces the steps for some reasons; ``{name}`` in them is the job's name, after
    the options with which commands find it.
    """
    name = str(metadata(job).get("name", ""))
    words = words_for(mapping(metadata(job).get("annotations")))
    of_words = _NEXT_STEPS_OF_SCRIPTS if words.is_script else {}
    steps = {
        reason: step.format(name=f"{options} {name}".strip(), deadline=words.job_deadline)
        for reason, step in {**_NEXT_STEPS, **(next_steps or {}), **of_words}.items()
    }
    status = job_status_from(job.get("status"))
    evidence = [*_attempts(status, words), *_conditions(status, words), *_report(status)]
    if status.succeeded:
        undone = work_from(mapping(mapping(status.report).get("tasks"))).undone
        return Explanation(
            f"{name} succeeded{_took(status)}.",
            tuple(_report(status)),
            "Call wait() or gather() on the futures: the script ended before." if undone else "",
        )
    if status.job_status is JobStatusWord.FAILED:
        reason = _root_reason(status)
        of_script = reason in (Reason.EXIT_CODE, Reason.OOM_KILLED)
        lines = _log_evidence(log_tail) if of_script else []
        step = steps.get(reason, "")
        if reason == Reason.EXIT_CODE:
            step = advice(status.message, log_tail, words) or step
        what, own_step = split_step(status.message)
        verb = "was cancelled" if reason == Reason.CANCELLED else "failed"
        headline = f"{name} {verb}{words.of_reason(status.reason)}: {what}"
        return Explanation(headline, (*lines, *evidence), own_step or step)
    return _unfinished(name, status, evidence, steps, words)


def _unfinished(
    name: str, status: JobStatus, evidence: list[str], steps: Mapping[str, str], words: Words
) -> Explanation:
    if status.job_status is None:
        step = "On Kubernetes, check that an operator is running and watches the job's namespace."
        return Explanation(f"{name} has not been picked up yet: it has no status.", (), step)
    if status.suspended:
        step = "To resume it, set spec.suspend of the DaskJob to false."
        return Explanation(f"{name} is suspended and has no pods.", tuple(evidence), step)
    if status.reason and status.message and status.attempt_start_time:
        step = steps.get(status.reason, "")
        state = _STATES.get(status.reason, "is waiting") if _runs(status) else "is waiting"
        what, own_step = split_step(status.message)
        headline = f"{name} {state}{words.of_reason(status.reason)}: {what}"
        return Explanation(headline, tuple(evidence), own_step or step)
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
    progress = status.progress
    if progress is not None and progress.done + progress.erred < progress.total and _runs(status):
        # Tasks that run may wait for each other, which shows only after some time.
        headline = f"{name} is running: {progress.done} of {progress.total} tasks are done."
        return Explanation(headline, tuple(evidence))
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
    return "" if status.took is None else f" after {duration(status.took)}"


def _attempts(status: JobStatus, words: Words) -> list[str]:
    if len(status.attempts) < 2:
        return []
    return [
        f"attempt {a.number}: {'' if words.is_script else _reason_of(a)}{a.message}"
        for a in status.attempts
    ]


def _reason_of(attempt: Attempt) -> str:
    code = f", exit code {attempt.exit_code}" if attempt.exit_code is not None else ""
    return f"{attempt.reason}{code}: "


def _conditions(status: JobStatus, words: Words) -> list[str]:
    expected = ("Starting", "Ended", "Started", "Resumed", "Progress")
    return [
        c.message if words.is_script else f"{c.type} is false ({c.reason}): {c.message}"
        for c in status.conditions
        if not c.status and c.reason not in expected and not status.succeeded
        if not _is_aftermath(c, status)
    ]


def _is_aftermath(condition: Condition, status: JobStatus) -> bool:
    """Return whether a condition shows workers as they were once the runner had ended.

    They end with their cluster; the report counts those that were lost before. Workers that never
    were at work may be why the runner failed.
    """
    lost = mapping((status.report or {}).get("workers")).get("lost")
    were_at_work = bool(status.workers_joined_time or lost)
    if condition.type != ConditionType.WORKERS_READY or not were_at_work:
        return False
    changed, end = condition.last_transition_time, status.end_time
    ended_itself = status.finished and status.exit_code is not None
    return bool(ended_itself and end and changed and end - changed <= AFTERMATH)


def _report(status: JobStatus) -> list[str]:
    report = status.report or {}
    found = []
    tasks, workers = mapping(report.get("tasks")), mapping(report.get("workers"))
    work = work_from(tasks)
    if work.total:
        found.append(f"tasks: {work}")
    if lost := integer(workers.get("lost")):
        count = "1 worker was" if lost == 1 else f"{lost} workers were"
        found.append(f"{count} lost while it ran{_lost_with(workers)}")
    return found


def _lost_with(workers: Mapping[str, object]) -> str:
    """Return the tasks with which workers were lost."""
    names = sorted({name for loss in losses_of(workers.get("losses")) for name in loss.tasks})
    return f", with {', '.join(names)}" if names else ""


def _log_evidence(log_tail: str) -> list[str]:
    """Return the last traceback in the end of a log, or else its last lines."""
    lines = plain_lines(log_tail)
    found = last_exception(log_tail)
    shown = lines[found.start : found.end] if found is not None and found.is_main else lines
    shown = [line.rstrip() for line in shown if line.strip()]
    return [f"log: {line}" for line in shown[-EVIDENCE_LINES:]]
