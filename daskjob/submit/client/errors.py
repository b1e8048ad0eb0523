"""Errors that only clients of a cluster raise; the others are in ``core.errors``."""

from __future__ import annotations

from daskjob.core.errors import ApiError
from daskjob.core.wording import HOW_TO_INSTALL


class NotInstalled(ApiError):
    """The API server does not know daskjob's kinds: its CustomResourceDefinitions are missing."""

    retryable = False
    #: The objects that a call is about.
    kinds = "DaskJobs"

    def __str__(self) -> str:
        return f"this Kubernetes has no {self.kinds}; install daskjob: {HOW_TO_INSTALL}"


class ClustersNotInstalled(NotInstalled):
    """The same, where a cluster was asked for."""

    kinds = "DaskClusters"
