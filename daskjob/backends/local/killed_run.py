"""The final status of a job whose process was killed before it could write one."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from daskjob.core.manifests import whole_seconds
from daskjob.core.reasons import Reason
from daskjob.core.status import (
    ATTEMPTS_KEPT,
    Attempt,
    ConditionType,
    JobStatus,
    JobStatusWord,
    derived_phase,
)


def killed(status: JobStatus, now: datetime) -> JobStatus:
    """Return the status of a job whose ``daskjob run`` was killed before it could write one.

    ``now`` is the time of its death.
    """
    now = max(whole_seconds(now), status.attempt_start_time or whole_seconds(now))
    message = (
        "the daskjob process that ran the job was killed; all of the job's processes ended with it."
    )
    attempts = status.attempts
    if status.attempt_start_time is not None:
        attempt = Attempt(
            number=status.attempt,
            runner_pod_name=status.job_runner_pod_name,
            start_time=status.attempt_start_time,
            end_time=now,
            exit_code=None,
            reason=str(Reason.RUNNER_LOST),
            message=message,
        )
        attempts = (*attempts, attempt)[-ATTEMPTS_KEPT:]
    ended = replace(
        status,
        attempts=attempts,
        job_status=JobStatusWord.FAILED,
        end_time=now,
        start_time=status.start_time or now,
        reason=str(Reason.RUNNER_LOST),
        message=message,
        attempt_start_time=None,
        next_attempt_time=None,
    ).with_condition(
        ConditionType.FAILED, status=True, reason=Reason.RUNNER_LOST, message=message, now=now
    )
    return replace(ended, phase=str(derived_phase(ended)))
