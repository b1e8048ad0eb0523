"""When a rejected object, status or label is tried again.

A rejection by a passing fault cannot be distinguished from a lasting one: while the roles of the
operator are applied anew, or a webhook is replaced, every request may be rejected. So each is tried
again soon during its first minute, and at the latest 10 s after such a fault is over. Then it is
tried ever more rarely, up to a limit: a full quota every minute, an admission policy at most six
times an hour, a name whose previous object is terminating every 10 s.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from daskjob.core.errors import RejectionKind
from daskjob.core.observed import Rejection

#: How long, in seconds, a rejection may be a passing fault; and the longest wait meanwhile.
PASSING_SECONDS = 60.0
SOON_SECONDS = 10.0

#: Objects and a status that were rejected together are tried again together, although each answer
#: came at a moment of its own: else a job would be judged by a rejection of the same fault that
#: had kept its status from being written.
TOGETHER_SECONDS = 0.5

#: First wait and longest wait, in seconds, by the kind of rejection.
_WAITS = {
    RejectionKind.TERMINATING: (0.1, 10.0),
    RejectionKind.QUOTA: (5.0, 60.0),
    RejectionKind.UNREACHED: (2.0, 60.0),
    RejectionKind.REJECTED: (2.0, 1200.0),
    RejectionKind.CONFLICT: (2.0, 600.0),
    RejectionKind.INVALID: (2.0, 3600.0),
}


def next_try(rejection: Rejection) -> datetime:
    """Return when to try again: soon in the first minute, then after doubling waits."""
    first, longest = _WAITS[rejection.kind]
    soon = min(first * 2 ** min(rejection.tries - 1, 20), SOON_SECONDS)
    since = (rejection.last_at - rejection.first_at).total_seconds()
    # As long again as it has been rejected: doubling waits, however many tries there were.
    seconds = soon if since < PASSING_SECONDS else max(soon, min(since, longest))
    return rejection.last_at + timedelta(seconds=seconds)


def is_due(rejection: Rejection, now: datetime) -> bool:
    """Return whether to try again now, or so soon that it is tried together with others."""
    first, _ = _WAITS[rejection.kind]
    return now >= next_try(rejection) - timedelta(seconds=min(TOGETHER_SECONDS, first / 2))
