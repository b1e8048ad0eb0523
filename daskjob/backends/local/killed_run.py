"""The final status of a job whose processes were killed before passes could write one."""

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

#: Of a job whose ``daskjob run`` was killed.
RUN_KILLED = (
    "the daskjob process that ran the job was killed; all of the job's processes ended with it."
)


def lost_message(how: str) -> str:
    """Return the message of a job whose supervisor ended; ``how`` is the end of a sentence."""
    return f"the process that ran the job's processes {how}; all of them ended with it."


def killed(
    status: JobStatus,
    now: datetime,
    message: str = RUN_KILLED,
    reason: Reason = Reason.RUNNER_LOST,
) -> JobStatus:
    """Return the status of a job whose processes were killed before passes could write one.

    ``now`` is the time of their death.
    """
    now = max(whole_seconds(now), status.attempt_start_time or whole_seconds(now))
    attempts = status.attempts
    if status.attempt_start_time is not None:
        attempt = Attempt(
            number=status.attempt,
            runner_pod_name=status.job_runner_pod_name,
            start_time=status.attempt_start_time,
            end_time=now,
            exit_code=None,
            reason=str(reason),
            message=message,
        )
        attempts = (*attempts, attempt)[-ATTEMPTS_KEPT:]
    ended = replace(
        status,
        attempts=attempts,
        job_status=JobStatusWord.FAILED,
        end_time=now,
        start_time=status.start_time or now,
        reason=str(reason),
        message=message,
        attempt_start_time=None,
        next_attempt_time=None,
    ).with_condition(ConditionType.FAILED, status=True, reason=reason, message=message, now=now)
    return replace(ended, phase=str(derived_phase(ended)))
