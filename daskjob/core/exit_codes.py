"""Exit codes of commands: the same on this machine and on Kubernetes (design §5.5).

A script's own exit code is passed on; daskjob's are 121 and above, to avoid confusion.
"""

from __future__ import annotations

from enum import IntEnum

from daskjob.core.preparation import LATER
from daskjob.core.reasons import Reason, ReasonClass
from daskjob.core.status import JobStatus


class ExitCode(IntEnum):
    """Exit codes of daskjob, not of the script."""

    #: The job has succeeded; of other commands: done.
    SUCCESS = 0
    #: Wrong command line, or a script or a job that does not exist.
    USAGE = 2
    #: The infrastructure failed: a node, an image, the scheduler.
    INFRASTRUCTURE = 121
    #: A deadline was exceeded: of the job, an attempt, a start, or a stall.
    DEADLINE = 122
    #: The job was cancelled: Ctrl-C, SIGTERM, ``daskjob cancel``.
    CANCELLED = 123
    #: The wait timed out; the job has not ended.
    WAIT_TIMEOUT = 124
    #: daskjob failed: an invalid manifest, a missing permission, no API.
    DASKJOB = 125


#: Reasons of a policy that are no deadlines.
_BY_REASON = {
    Reason.CANCELLED: ExitCode.CANCELLED,
    Reason.BACKOFF_LIMIT_EXCEEDED: ExitCode.INFRASTRUCTURE,
    Reason.SUSPENDED: ExitCode.INFRASTRUCTURE,
}


def exit_code(status: JobStatus) -> int:
    """Return the exit code of a command that waited for a job to end.

    It is the script's own code if that ended the job; after ``backoffLimit``, that of the last
    attempt.
    """
    if status.succeeded:
        return ExitCode.SUCCESS
    reason = status.reason
    if reason == Reason.BACKOFF_LIMIT_EXCEEDED and status.attempts:
        reason = status.attempts[-1].reason
    if reason not in list(Reason):
        return ExitCode.DASKJOB
    known = Reason(reason)
    if known is Reason.ENVIRONMENT_FAILED:
        # The script did not run: the code is the installer's.
        is_network = status.exit_code == LATER
        return ExitCode.INFRASTRUCTURE if is_network else ExitCode.DASKJOB
    if known in _BY_REASON:
        return _BY_REASON[known]
    match known.reason_class:
        case ReasonClass.USER:
            return status.exit_code or ExitCode.INFRASTRUCTURE
        case ReasonClass.INFRASTRUCTURE:
            return ExitCode.INFRASTRUCTURE
        case ReasonClass.POLICY:
            return ExitCode.DEADLINE
        case ReasonClass.INVALID:
            return ExitCode.DASKJOB
