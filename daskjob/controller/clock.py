"""The monotonic clock for the operator's own waits and deadlines."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

#: Returns seconds since an arbitrary moment.
Clock: TypeAlias = Callable[[], float]


def machine_clock() -> float:
    """Return monotonic seconds; where supported, they include the machine's sleep."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def utc_now() -> datetime:
    """Return the wall-clock time, to compare with timestamps of Kubernetes."""
    return datetime.now(UTC)
