"""What a command's exit code says: the same on this machine and on Kubernetes (design §5.5).

No I/O here. A script's own exit code is passed on; ours stay out of its way at 121 and above.
"""

from __future__ import annotations

from enum import IntEnum

from daskjob.core.reasons import Reason, ReasonClass
from daskjob.core.status import JobStatus


class ExitCode(IntEnum):
    """Exit codes that are daskjob's, not the script's."""

    SUCCESS = 0
    USAGE = 2
    #: What the job ran on failed it: a node, an image, the scheduler.
    INFRASTRUCTURE = 121
    #: A deadline of the job, of an attempt, of a start, or of movement.
    DEADLINE = 122
    CANCELLED = 123
    #: The wait ended, the job did not.
    WAIT_TIMEOUT = 124
    #: daskjob itself: an invalid manifest, a missing permission, no API.
    DASKJOB = 125


#: Reasons of a policy that are no deadlines.
_BY_REASON = {
    Reason.CANCELLED: ExitCode.CANCELLED,
    Reason.BACKOFF_LIMIT_EXCEEDED: ExitCode.INFRASTRUCTURE,
    Reason.SUSPENDED: ExitCode.INFRASTRUCTURE,
}


def exit_code(status: JobStatus) -> int:
    """Return the exit code of a command that waited for a job to end.

    A script's own code is passed on where it ended the job; where attempts were used up, the code
    of the last one.
    """
    if status.succeeded:
        return ExitCode.SUCCESS
    reason = status.reason
    if reason == Reason.BACKOFF_LIMIT_EXCEEDED and status.attempts:
        reason = status.attempts[-1].reason
    if reason not in list(Reason):
        return ExitCode.DASKJOB
    known = Reason(reason)
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
