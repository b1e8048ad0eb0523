"""An error of a job as a failure of a step, with what a person wants to know about it."""

from __future__ import annotations

from dagster import Failure, MetadataValue

from daskjob.core.errors import (
    Conflict,
    DaskJobError,
    Failed,
    Forbidden,
    Invalid,
    InvalidFailure,
)
from daskjob.core.reasons import Reason

#: Where the same step would fail the same way.
_HOPELESS = (Conflict, Forbidden, Invalid, InvalidFailure)


def failure(error: DaskJobError, job: str = "") -> Failure:
    """Return the failure of a step, which its caller raises from the error.

    Dagster retries it as the step's RetryPolicy says, unless that cannot help.
    """
    found: dict[str, object] = {"daskjob": job} if job else {}
    if isinstance(error, Failed):
        found["reason"] = error.reason
        found |= {} if error.exit_code is None else {"exit code": error.exit_code}
        found |= {"end of the log": MetadataValue.text(error.log_tail)} if error.log_tail else {}
    return Failure(
        description=f"{job}: {error}" if job else str(error),
        metadata=found,
        allow_retries=_may_be_retried(error),
    )


def _may_be_retried(error: DaskJobError) -> bool:
    if isinstance(error, Failed) and error.reason == Reason.CANCELLED:
        return False
    return not isinstance(error, _HOPELESS)
