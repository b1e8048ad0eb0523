"""Errors of interactive clusters.

Each is a ``DaskJobError``, and also the built-in exception that dask-kubernetes raises in its
place, so that programs which handle that one still work.
"""

from __future__ import annotations

from typing import ClassVar

import distributed.exceptions
from dask.utils import parse_timedelta

from daskjob.core.errors import (
    ApiError,
    ClusterClosed,
    Conflict,
    Forbidden,
    NotFound,
    Timeout,
    UnknownArgument,
    WrongArgument,
    WrongType,
)
from daskjob.kube.port_forward import PortTaken
from daskjob.submit.client.errors import ClustersNotInstalled
from daskjob.submit.sync import WouldBlock

#: Of distributed since 2024.4; a time-out before.
_WorkerStartTimeout: type[Exception] = getattr(
    distributed.exceptions, "WorkerStartTimeoutError", TimeoutError
)


class ValidationError(WrongArgument):
    """An argument, or a configuration value, that cannot work."""


class ClusterExists(Conflict, ValueError):
    """The cluster should be created, and exists already."""


class NoSuchCluster(NotFound, ValueError):
    """The cluster should be connected to, and does not exist."""


def closed_error(name: str, what: str = "is closed; create a new KubeCluster") -> ClusterClosed:
    """Return the error for a cluster that can do nothing any more."""
    return ClusterClosed(f"cluster {name} {what}")


class OperatorNotInstalled(ClustersNotInstalled, RuntimeError):
    """The API server does not know DaskClusters."""


class StartTimeout(Timeout, TimeoutError):
    """The cluster did not start in time; the message names what blocks it."""


class CloseTimeout(Timeout, TimeoutError):
    """The cluster was not closed in time."""


class SchedulerStartupError(ApiError):
    """The scheduler cannot start; the message has the end of its log."""

    retryable: ClassVar[bool] = False


class CrashLoopBackOffError(SchedulerStartupError):
    """The scheduler starts, and ends again and again."""


class NoConnection(ApiError, ConnectionError):
    """The scheduler runs, and cannot be reached from here."""


class LocalPortTaken(PortTaken, ConnectionError):
    """A local port is in use."""


class StillMissing(Timeout, _WorkerStartTimeout):  # type: ignore[misc, valid-type]
    """Fewer workers run than were awaited; the message has the reason."""

    def __init__(self, running: int, wanted: int, timeout: object, reason: str = "") -> None:
        Exception.__init__(self, running, wanted, timeout, reason)
        self.available_workers = running
        self.expected_workers = wanted
        self.timeout = timeout
        self.reason = reason

    def __str__(self) -> str:
        found = f"only {self.available_workers} of {self.expected_workers} workers run"
        return f"{found} after {parse_timedelta(self.timeout):g} s" + (
            f": {self.reason}" if self.reason else ""
        )


class BlockingCall(WouldBlock):
    """A blocking call inside a running event loop."""


__all__ = [
    "BlockingCall",
    "CloseTimeout",
    "ClusterClosed",
    "ClusterExists",
    "CrashLoopBackOffError",
    "Forbidden",
    "LocalPortTaken",
    "NoConnection",
    "NoSuchCluster",
    "OperatorNotInstalled",
    "SchedulerStartupError",
    "StartTimeout",
    "StillMissing",
    "UnknownArgument",
    "ValidationError",
    "WrongArgument",
    "WrongType",
]
