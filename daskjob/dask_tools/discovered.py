"""A cluster as dask-ctl finds it: by its name alone, from inside a loop of dask-ctl's own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar

from daskjob.kubecluster.cluster import KubeCluster


class DiscoveredCluster(KubeCluster):
    """A cluster of a known namespace; ``close`` deletes it, as ``dask cluster delete`` expects."""

    found_in: ClassVar[str] = ""

    @classmethod
    def from_name(cls, name: str, **arguments: Any) -> KubeCluster:
        """Return the cluster of this name; dask-ctl calls this in its loop, and waits there."""
        arguments = {"namespace": cls.found_in, "quiet": True, **arguments}
        connect = partial(super().from_name, name, **arguments)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return connect()
        if arguments.get("asynchronous"):
            return connect()
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(connect).result()

    def get_snippet(self) -> str:
        """Return the code that connects to the cluster."""
        return "\n".join(
            [
                "from dask.distributed import Client",
                "from daskjob import KubeCluster",
                "",
                f"cluster = KubeCluster.from_name({self.name!r}, namespace={self.found_in!r})",
                "client = Client(cluster)",
            ]
        )

    def close(self, timeout: float | None = 3600) -> Any:
        """Delete the cluster."""
        self.shutdown_on_close = True
        return super().close(timeout)

    def __exit__(self, *_: object) -> None:
        super().close()

    def __reduce__(self) -> Any:
        # The class of a namespace has no place to import it from.
        function, (_, *reference) = super().__reduce__()
        return function, (KubeCluster, *reference)


def class_in(namespace: str) -> type[KubeCluster]:
    """Return the class of the clusters of a namespace."""
    body = {"found_in": namespace, "__module__": __name__}
    return type(KubeCluster.__name__, (DiscoveredCluster,), body)
