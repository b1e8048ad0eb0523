"""When a rejected object is tried again.

Every retry backs off with a cap: a full quota is retried every minute, an admission policy at most
six times an hour, a name whose previous object is terminating within seconds.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from daskjob.core.errors import RejectionKind
from daskjob.core.observed import Rejection

#: First wait and longest wait, in seconds, by the kind of rejection.
_WAITS = {
    RejectionKind.TERMINATING: (0.1, 10.0),
    RejectionKind.QUOTA: (5.0, 60.0),
    RejectionKind.UNREACHED: (2.0, 60.0),
    RejectionKind.REJECTED: (120.0, 1200.0),
    RejectionKind.CONFLICT: (60.0, 600.0),
    RejectionKind.INVALID: (600.0, 3600.0),
}


#: The first rejection of a status may be a temporary fault, which cannot be distinguished from a
#: lasting rejection and is over after this time.
FIRST_STATUS_WAIT_SECONDS = 8


def next_try(rejection: Rejection) -> datetime:
    """Return when to try to create the object again."""
    first, longest = _WAITS[rejection.kind]
    seconds = min(first * 2 ** min(rejection.tries - 1, 20), longest)
    return rejection.last_at + timedelta(seconds=seconds)


def next_status_try(rejection: Rejection) -> datetime:
    """Return when to write a rejected status again: soon once, then like a rejected object."""
    if rejection.tries == 1:
        return rejection.last_at + timedelta(seconds=FIRST_STATUS_WAIT_SECONDS)
    return next_try(rejection)
