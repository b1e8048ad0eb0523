"""What the checks of a cluster share."""

from __future__ import annotations

from dataclasses import dataclass

from daskjob.kube.access import Credentials
from daskjob.kube.api import Api
from daskjob.submit.installing.cluster_objects import ClusterObjects


@dataclass(frozen=True, slots=True)
class Ground:
    """A namespace of a cluster, and how to ask about it."""

    api: Api
    credentials: Credentials
    objects: ClusterObjects
    namespace: str
    #: The context that was named; empty: the current one.
    context: str = ""

    @property
    def options(self) -> str:
        """The options of commands for this place."""
        return f"-n {self.namespace}" + (f" --context {self.context}" if self.context else "")
