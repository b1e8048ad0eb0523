"""When an object that was refused is tried again. No I/O here.

Every retry backs off with a cap: a full quota is asked every minute, an admission policy at most
six times an hour, a name whose old holder is about to go within seconds.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from daskjob.core.errors import RejectionKind
from daskjob.core.observed import Rejection

#: First wait and longest wait, in seconds, by the kind of the refusal.
_WAITS = {
    RejectionKind.TERMINATING: (0.1, 10.0),
    RejectionKind.QUOTA: (5.0, 60.0),
    RejectionKind.UNREACHED: (2.0, 60.0),
    RejectionKind.REJECTED: (120.0, 1200.0),
    RejectionKind.CONFLICT: (60.0, 600.0),
    RejectionKind.INVALID: (600.0, 3600.0),
}


#: A status that was refused for the first time may have met a fault of the way there, which has
#: passed by then: it cannot be told from a lasting no.
FIRST_STATUS_WAIT_SECONDS = 8


def next_try(rejection: Rejection) -> datetime:
    """Return when the object may be asked for again."""
    first, longest = _WAITS[rejection.kind]
    seconds = min(first * 2 ** min(rejection.tries - 1, 20), longest)
    return rejection.last_at + timedelta(seconds=seconds)


def next_status_try(rejection: Rejection) -> datetime:
    """Return when a status may be written again: once soon, then as rarely as what is refused."""
    if rejection.tries == 1:
        return rejection.last_at + timedelta(seconds=FIRST_STATUS_WAIT_SECONDS)
    return next_try(rejection)
