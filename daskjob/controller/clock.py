"""The clock of waits and deadlines of the operator's own: seconds that never go back."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

#: Seconds since any moment.
Clock: TypeAlias = Callable[[], float]


def machine_clock() -> float:
    """Return seconds that also count while the machine sleeps, where it can say."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def utc_now() -> datetime:
    """Return the time of day, for what is compared with times that Kubernetes wrote."""
    return datetime.now(UTC)
