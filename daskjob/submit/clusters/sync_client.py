"""Clusters of a namespace, for blocking programs: each method is that of ``AsyncClusterClient``."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from daskjob.core.manifests import Manifest
from daskjob.kube.access import Credentials
from daskjob.kube.api import OnRequest
from daskjob.kube.port_forward import LOOPBACK
from daskjob.submit import sync
from daskjob.submit.clusters.client import AsyncClusterClient, Notify
from daskjob.submit.clusters.cluster import Cluster
from daskjob.submit.clusters.forwards import Forwards

T = TypeVar("T")

_NAME = "ClusterClient"


class ClusterClient:
    """The clusters of one namespace.

    ::

        with ClusterClient("team") as clusters:
            cluster = clusters.create(manifest)
            clusters.wait(cluster, timeout_seconds=300)
            with clusters.connected(cluster) as ways:
                ...  # Client(ways.scheduler_address)

    It may be used from any thread, not inside a running event loop, where ``AsyncClusterClient``
    has the same methods. An exception in the caller ends the call at once; the cluster stays.
    """

    def __init__(
        self,
        namespace: str = "",
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
        credentials: Callable[[], Credentials] | None = None,
        notify: Notify | None = None,
        on_request: OnRequest | None = None,
    ) -> None:
        """Prepare a client; nothing is read or sent yet. See ``AsyncJobClient``."""
        self._client = AsyncClusterClient(
            namespace,
            kubeconfig=kubeconfig,
            context=context,
            credentials=credentials,
            notify=notify,
            on_request=on_request,
        )
        # A client that is not closed is closed when it is not used any more.
        weakref.finalize(self, sync.start, self._client.close)

    @classmethod
    def from_client(
        cls, client: object, namespace: str = "", *, notify: Notify | None = None
    ) -> ClusterClient:
        """Return a client with the credentials of one of kr8s, kubernetes or kubernetes_asyncio."""
        from daskjob.kube.other_clients import credentials_of

        return cls(namespace, credentials=credentials_of(client), notify=notify)

    def __enter__(self) -> ClusterClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next call opens another one. Inside an event loop, soon."""
        try:
            self._run("close", self._client.close)
        except sync.WouldBlock:
            sync.start(self._client.close)

    def namespace(self) -> str:
        """Return the namespace of the clusters."""
        return self._run("namespace", self._client.namespace)

    def create(self, manifest: Manifest) -> Cluster:
        """Create a cluster from a DaskCluster, once, also if a response is lost."""
        return self._run("create", partial(self._client.create, manifest))

    def list(self, *, all_namespaces: bool = False) -> tuple[Cluster, ...]:
        """Return all clusters of the namespace, those of jobs included, by name."""
        return self._run("list", partial(self._client.list, all_namespaces=all_namespaces))

    def get(self, name: str) -> Cluster:
        """Return the cluster of this name."""
        return self._run("get", partial(self._client.get, name))

    def scale(self, cluster: Cluster, workers: int) -> None:
        """Set the number of workers of the default group."""
        self._run("scale", partial(self._client.scale, cluster, workers))

    def delete(self, cluster: Cluster, *, force: bool = False) -> None:
        """Delete a cluster with everything that belongs to it; one that is gone is no error."""
        self._run("delete", partial(self._client.delete, cluster, force=force))

    def wait(
        self,
        cluster: Cluster,
        *,
        workers: int | None = None,
        timeout_seconds: float | None = None,
    ) -> Cluster:
        """Wait until the scheduler runs, with this many workers; by default with all."""
        make = partial(self._client.wait, cluster, workers=workers, timeout_seconds=timeout_seconds)
        return self._run("wait", make)

    @contextmanager
    def connected(
        self,
        cluster: Cluster,
        *,
        port: int = 0,
        dashboard_port: int = 0,
        address: str = LOOPBACK,
        comm: bool = True,
        timeout_seconds: float | None = None,
    ) -> Iterator[Forwards]:
        """Forward local ports to the scheduler and its dashboard during the block."""
        held = _Held(
            partial(
                self._client.connected,
                cluster,
                port=port,
                dashboard_port=dashboard_port,
                address=address,
                comm=comm,
                timeout_seconds=timeout_seconds,
            )
        )
        ways = self._run("connected", held.open)
        try:
            yield ways
        finally:
            self._run("connected", held.close)

    def _run(self, method: str, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return sync.run(make, name=f"{_NAME}.{method}")


class _Held:
    """An asynchronous context, entered and left by one task, between two blocking calls."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._task: asyncio.Task[None] | None = None
        self._closing: asyncio.Event | None = None

    async def open(self) -> Forwards:
        """Enter the context; return what it yields."""
        opened: asyncio.Future[Forwards] = asyncio.get_running_loop().create_future()
        closing = self._closing = asyncio.Event()
        task = self._task = asyncio.create_task(self._hold(opened, closing))
        try:
            both: set[asyncio.Future[Any]] = {task, opened}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            await self._cancel()
            raise
        if not opened.done():
            await task
        return opened.result()

    async def close(self) -> None:
        """Leave the context."""
        assert self._task is not None
        assert self._closing is not None
        self._closing.set()
        try:
            await asyncio.shield(self._task)
        except BaseException:
            await self._cancel()
            raise

    async def _hold(self, opened: asyncio.Future[Forwards], closing: asyncio.Event) -> None:
        async with self._make() as found:
            opened.set_result(found)
            await closing.wait()

    async def _cancel(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})
