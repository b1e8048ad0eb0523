"""Errors that only clients of a cluster raise; the others are in ``core.errors``."""

from __future__ import annotations

from daskjob.core.errors import ApiError
from daskjob.core.wording import HOW_TO_INSTALL


class NotInstalled(ApiError):
    """The API server does not know DaskJobs: its CustomResourceDefinitions are not installed."""

    retryable = False

    def __str__(self) -> str:
        return f"this cluster has no DaskJobs; install daskjob: {HOW_TO_INSTALL}"
