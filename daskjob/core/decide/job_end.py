"""A job's status after an attempt has ended: another attempt, or a terminal status."""

from __future__ import annotations

import json
import math
from dataclasses import replace

from daskjob.core.dask import losses_of
from daskjob.core.job_view import AttemptEnd, JobView
from daskjob.core.killed_workers import exceeded_bytes
from daskjob.core.manifests import (
    DEEPEST_LEVELS,
    Manifest,
    is_too_deep,
    mapping,
    whole_seconds,
)
from daskjob.core.policies.retry import Again, GiveUp, after_failure
from daskjob.core.reasons import Reason
from daskjob.core.status import (
    ATTEMPTS_KEPT,
    REPORT_LEVELS,
    REPORT_LIMIT_BYTES,
    RESULT_LIMIT_BYTES,
    Attempt,
    ConditionType,
    JobStatus,
    JobStatusWord,
    Progress,
    derived_phase,
)

#: The end of the message of a job whose result could not be kept.
LEFT_OUT = "was left out."
#: The reason of a successful attempt and job.
COMPLETED = "Completed"


def ended(view: JobView, end: AttemptEnd) -> JobStatus:
    """Return the status after the current attempt, or the wait for one, ended."""
    status = _recorded(view, end)
    if end.reason is None:
        return _succeeded(view, status, end)
    if end.reason is Reason.SUSPENDED:
        return _suspended(view, status)
    if not view.attempt_runs:
        # No attempt failed, so there is no retry: the wait for one has ended.
        return _failed(view, status, end, GiveUp(end.reason, end.message))
    verdict = after_failure(end, end.reason, view.status, view.policy, view.now, view.words)
    match verdict:
        case GiveUp():
            return _failed(view, status, end, verdict)
        case Again():
            return _tried_again(view, status, end, verdict)


def _recorded(view: JobView, end: AttemptEnd) -> JobStatus:
    """Return the status with the attempt in its history, and the scheduler's last answers."""
    status = replace(_with_last_answers(view), message=end.message)
    status = status.without_condition(ConditionType.STALLED)
    if not view.attempt_runs:
        return status
    attempt = Attempt(
        number=status.attempt,
        runner_pod_name=view.runner.ref.name if view.runner else status.job_runner_pod_name,
        start_time=status.attempt_start_time,
        end_time=whole_seconds(view.now),
        exit_code=end.exit_code,
        reason=str(end.reason) if end.reason else COMPLETED,
        message=end.message,
    )
    return replace(status, attempts=(*status.attempts, attempt)[-ATTEMPTS_KEPT:])


def _with_last_answers(view: JobView) -> JobStatus:
    status, observed = view.status, view.observed
    if view.scheduler_was_shut_down:
        # What a restarted scheduler reports is not about the attempt's tasks.
        return status
    report = observed.report.report if observed.report else None
    # A rejected status may be the report's fault, and a verdict never depends on a report.
    if report is not None and observed.status_rejection is None:
        status = replace(status, report=short_report(_with_least_peak(view, report)))
    if observed.dask is not None and view.policy.progress_interval_seconds and view.attempt_runs:
        tasks = observed.dask.tasks
        counts = (tasks.total, tasks.done, tasks.processing, tasks.erred)
        progress = Progress(*counts, updated_at=whole_seconds(view.now))
        status = replace(status, progress=progress)
    return status


def _with_least_peak(view: JobView, report: Manifest) -> Manifest:
    """Return a report with the memory that workers had at least: they died between heartbeats."""
    losses = losses_of(mapping(report.get("workers")).get("losses"))
    limit = exceeded_bytes(view.workers, losses)
    if not limit:
        return report
    return {**report, "peakMemory": {**mapping(report.get("peakMemory")), "atLeast": limit}}


def short_report(report: Manifest) -> Manifest | None:
    """Return a report that fits the status, without its largest parts; ``None`` if none does.

    It comes from a tenant's pod: the API server rejects a status that is too large or too deep, so
    the job would have no end.
    """
    kept = dict(report)
    if is_too_deep(kept, REPORT_LEVELS):
        return None
    try:
        sizes = {key: len(json.dumps([key, value], allow_nan=False)) for key, value in kept.items()}
    except (ValueError, TypeError, RecursionError):
        return None
    for largest in sorted(sizes, key=lambda key: sizes[key], reverse=True):
        if sum(sizes[key] for key in kept) <= REPORT_LIMIT_BYTES:
            break
        del kept[largest]
    return kept or None


def _finished(
    view: JobView, status: JobStatus, word: JobStatusWord, reason: str, message: str
) -> JobStatus:
    """Return the status with its terminal ``jobStatus`` and ``endTime``, always together."""
    now = whole_seconds(view.now)
    status = replace(
        status,
        job_status=word,
        end_time=now,
        reason=reason,
        message=message,
        attempt_start_time=None,
        next_attempt_time=None,
        # A job that never started gets both times: dask-kubernetes' readers expect a startTime
        # with an endTime.
        start_time=status.start_time or now,
        job_runner_pod_name=_runner_pod_name(view, status),
    )
    kind = ConditionType.COMPLETE if word is JobStatusWord.SUCCESSFUL else ConditionType.FAILED
    status = status.without_condition(ConditionType.RETRYING)
    status = status.without_condition(ConditionType.CLEANUP_BLOCKED)
    if status.condition(ConditionType.RUNNER_READY):
        status = status.with_condition(
            ConditionType.RUNNER_READY,
            status=False,
            reason="Ended",
            message="the runner has ended.",
            now=now,
        )
    status = status.with_condition(kind, status=True, reason=reason, message=message, now=now)
    return replace(status, phase=str(derived_phase(status)))


def _runner_pod_name(view: JobView, status: JobStatus) -> str:
    """Return the name of the last runner that existed, so that its log can be found."""
    if view.runner is not None:
        return view.runner.ref.name
    known = [attempt.runner_pod_name for attempt in status.attempts if attempt.runner_pod_name]
    return status.job_runner_pod_name or (known[-1] if known else "")


def _succeeded(view: JobView, status: JobStatus, end: AttemptEnd) -> JobStatus:
    result, problem = _result(view)
    message = end.message + problem
    status = replace(status, exit_code=0, result=result)
    return _finished(view, status, JobStatusWord.SUCCESSFUL, COMPLETED, message)


def _result(view: JobView) -> tuple[object, str]:
    """Return the runner's result, and the problem with it for the message."""
    runner = view.runner
    text = runner.main.message if runner and runner.main else ""
    if not text.strip():
        return None, ""
    if len(text.encode()) > RESULT_LIMIT_BYTES:
        return None, f" Its result is longer than {RESULT_LIMIT_BYTES} bytes and {LEFT_OUT}"
    try:
        result = json.loads(text, parse_constant=_finite, parse_float=_finite, parse_int=_whole)
        # A lone surrogate cannot be encoded.
        json.dumps(result, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None, f" Its result is not JSON and {LEFT_OUT}"
    if is_too_deep(result):
        return None, f" Its result is nested deeper than {DEEPEST_LEVELS} levels and {LEFT_OUT}"
    return result, ""


def _finite(text: str) -> float:
    """Return a number; Python also accepts NaN and infinity, which JSON does not have."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a JSON number")
    return number


def _whole(digits: str) -> int | float:
    """Return a number as the API server keeps it: an integer of 64 bits, otherwise a float."""
    approximate, exact = _finite(digits), int(digits)
    return exact if -(2**63) <= exact < 2**63 else approximate


def _failed(view: JobView, status: JobStatus, end: AttemptEnd, verdict: GiveUp) -> JobStatus:
    counted = verdict.counted and view.attempt_runs
    failures = view.status.failures + (1 if counted else 0)
    status = replace(status, exit_code=end.exit_code, failures=failures)
    return _finished(view, status, JobStatusWord.FAILED, str(verdict.reason), verdict.message)


def _suspended(view: JobView, status: JobStatus) -> JobStatus:
    now = whole_seconds(view.now)
    active = int(view.active_time.total_seconds())
    status = replace(_between_attempts(status), start_time=None, active_seconds=active)
    status = replace(status, reason="", message="")
    status = status.with_condition(
        ConditionType.SUSPENDED,
        status=True,
        reason="Suspended",
        message="spec.suspend is true; the interrupted attempt is not counted.",
        now=now,
    )
    return replace(status, phase=str(derived_phase(status)))


def _tried_again(view: JobView, status: JobStatus, end: AttemptEnd, verdict: Again) -> JobStatus:
    now = whole_seconds(view.now)
    status = replace(
        _between_attempts(status),
        failures=status.failures + (1 if verdict.counted else 0),
        ignored=status.ignored + (0 if verdict.counted else 1),
        next_attempt_time=verdict.at,
        reason=str(end.reason),
    )
    status = status.with_condition(
        ConditionType.RETRYING,
        status=True,
        reason=str(end.reason),
        message=f"attempt {view.status.attempt} failed: {end.message}",
        now=now,
    )
    return replace(status, phase=str(derived_phase(status)))


def _between_attempts(status: JobStatus) -> JobStatus:
    """Return the status with the number of the next attempt, without the last one's fields.

    Its exit code stays in ``attempts``, and its counts in the report.
    The runner's name must be cleared now: Flyte takes a failed pod of that name for the job's end.
    """
    for kind in (
        ConditionType.SCHEDULER_READY,
        ConditionType.WORKERS_READY,
        ConditionType.RUNNER_READY,
    ):
        status = status.without_condition(kind)
    return replace(
        status,
        job_status=JobStatusWord.JOB_CREATED,
        attempt=status.attempt + 1,
        attempt_start_time=None,
        next_attempt_time=None,
        job_runner_pod_name="",
        cluster_name="",
        scheduler_identity="",
        scheduler_address="",
        dashboard_url="",
        workers=None,
        workers_joined_time=None,
        progress=None,
        exit_code=None,
    )
