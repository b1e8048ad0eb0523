"""How a job ended, as the exception that a caller can act on. No I/O."""

from __future__ import annotations

from daskjob.core.errors import (
    Failed,
    InfrastructureFailure,
    InvalidFailure,
    PolicyFailure,
    UserFailure,
)
from daskjob.core.reasons import Reason, ReasonClass
from daskjob.core.status import RESULT_LIMIT_BYTES, JobStatus

_CLASSES: dict[ReasonClass, type[Failed]] = {
    ReasonClass.USER: UserFailure,
    ReasonClass.INFRASTRUCTURE: InfrastructureFailure,
    ReasonClass.POLICY: PolicyFailure,
    ReasonClass.INVALID: InvalidFailure,
}


def failure_of(status: JobStatus, log_tail: str = "") -> Failed:
    """Return the exception for a job that ended without success.

    Its class is that of the cause: after ``backoffLimit``, that of the last attempt.
    """
    cause = status.reason
    if cause == Reason.BACKOFF_LIMIT_EXCEEDED and status.attempts:
        cause = status.attempts[-1].reason
    known = cause in list(Reason)
    made = _CLASSES[Reason(cause).reason_class] if known else Failed
    return made(status.reason or "Failed", status.message, status.exit_code, log_tail)


def lost_result(status: JobStatus) -> str:
    """Return why the result that a script wrote is lost; empty: it is not."""
    # Nothing else needs it.
    from daskjob.core.decide.job_end import LEFT_OUT

    if not status.succeeded or not status.message.endswith(LEFT_OUT):
        return ""
    return (
        f"{status.message} A result is at most {RESULT_LIMIT_BYTES} bytes of JSON: write what is "
        "larger to storage, and its place to DASKJOB_RESULT_FILE."
    )


def caused_by_script(status: JobStatus) -> bool:
    """Return whether the log of the runner may show why the job failed."""
    return issubclass(type(failure_of(status)), UserFailure)


def is_image_failure(status: JobStatus) -> bool:
    """Return whether the image cannot be pulled, now or later: a registry that is down can be."""
    # Nothing else needs it.
    from daskjob.core.image_advice import Cause, image_advice

    cause, message = status.reason, status.message
    if cause == Reason.BACKOFF_LIMIT_EXCEEDED and status.attempts:
        cause, message = status.attempts[-1].reason, status.attempts[-1].message
    if cause != Reason.IMAGE_PULL:
        return False
    return image_advice(message).cause in (Cause.DENIED, Cause.UNKNOWN)
