"""The interface to the Kubernetes cluster of the operator, and how to connect to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from daskjob.controller.lease import LeaseApi
from daskjob.core.backend import Backend, Wake
from daskjob.core.manifests import Key
from daskjob.core.observed import Platform
from daskjob.kube.request_metrics import RequestMetrics


class World(Backend, Protocol):
    """A backend that reports changes: a cache of the cluster's objects, updated by watches."""

    @property
    def leases(self) -> LeaseApi:
        """The Leases of this cluster, for leader election."""
        ...

    async def run(self) -> None:
        """Keep the cache up to date, until cancelled."""
        ...

    async def synced(self) -> None:
        """Wait until the first lists are complete."""
        ...

    def subscribe(self, wake: Wake) -> None:
        """Call this whenever something changed that a pass over a key may observe.

        That includes a scheduler's answer, a rejection and a report. It is called in the thread of
        the event loop, also for a deleted object.
        """
        ...

    def before_writes(self, check: Callable[[], None]) -> None:
        """Call this right before each write is sent, and before each retry.

        If it raises, the write is not sent and raises the same error. Writes of Leases are exempt.
        """
        ...

    def subjects(self) -> list[Key]:
        """Return the keys of all objects that need passes, owners first."""
        ...

    def silent_seconds(self) -> float:
        """Return how long the quietest watch has been silent, in seconds."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


async def connect(
    namespaces: tuple[str, ...], platform: Platform, metrics: RequestMetrics
) -> World:
    """Return the Kubernetes of this process' credentials; no namespaces: all of them.

    Raises
    ------
    DaskJobError
        There are no credentials, or they cannot be read. Whether the API server responds is known
        only when the world runs.
    """
    # Imported late: the command line is read, and signals are handled, before this is loaded.
    from daskjob.backends.kubernetes.backend import KubernetesBackend

    return await KubernetesBackend.connect(namespaces, platform, metrics)
