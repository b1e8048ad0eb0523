"""The seam to the Kubernetes that the operator works on, and how it is reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from daskjob.controller.lease import LeaseApi
from daskjob.core.backend import Backend, Wake
from daskjob.core.manifests import Key
from daskjob.core.observed import Platform
from daskjob.kube.request_metrics import RequestMetrics


class World(Backend, Protocol):
    """A backend that says what changes: a cache of the cluster's objects, kept true by watches."""

    @property
    def leases(self) -> LeaseApi:
        """The Leases of this cluster, for the election of the one that makes the passes."""
        ...

    async def run(self) -> None:
        """Keep the cache true, until cancelled."""
        ...

    async def synced(self) -> None:
        """Return as soon as the first lists are complete."""
        ...

    def subscribe(self, wake: Wake) -> None:
        """Have this called whenever something changed that a pass over a key may see.

        That is not the objects alone: also an answer of a scheduler, a refusal, a report. It is
        called in the thread of the event loop, also for an object that is gone.
        """
        ...

    def before_writes(self, check: Callable[[], None]) -> None:
        """Have this called right before each write is sent, and before each time that it is again.

        What it raises, the write raises instead of being sent. Leases are written all the same.
        """
        ...

    def subjects(self) -> list[Key]:
        """Return the keys of all objects that passes are about, owners first."""
        ...

    def silent_seconds(self) -> float:
        """Return how long the watch has been silent that was heard of last longest ago."""
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...


async def connect(
    namespaces: tuple[str, ...], platform: Platform, metrics: RequestMetrics
) -> World:
    """Return the Kubernetes of this process' credentials; no namespaces: all of them.

    Raises
    ------
    DaskJobError
        There are no credentials, or they cannot be read. Whether the API server answers shows
        only when the world runs.
    """
    # Imported late: the command line is read, and signals are handled, before this is loaded.
    from daskjob.backends.kubernetes.backend import KubernetesBackend

    return await KubernetesBackend.connect(namespaces, platform, metrics)
