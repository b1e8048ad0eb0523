"""Clusters of a namespace, for asynchronous programs."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from types import TracebackType

from daskjob.core.errors import (
    Conflict,
    CreateRejected,
    DaskJobError,
    Invalid,
    NotFound,
    RejectionKind,
    Timeout,
)
from daskjob.core.manifests import Manifest, ObjectRef, mapping, metadata
from daskjob.core.names import Kind
from daskjob.core.status import job_status_from
from daskjob.core.wording import HOW_TO_INSTALL
from daskjob.kube.access import Credentials
from daskjob.kube.api import Api, OnRequest
from daskjob.kube.credentials import find_credentials
from daskjob.kube.decoding import read_object
from daskjob.kube.errors import AlreadyExists, NoSuchResource, OutcomeUnknown, Replaced
from daskjob.kube.namespaces import NoNamespace, check_namespace, in_words_of_namespaces
from daskjob.kube.objects import get_object, list_objects, watching
from daskjob.kube.other_clients import credentials_of
from daskjob.kube.patience import Patience
from daskjob.kube.port_forward import LOOPBACK
from daskjob.kube.resources import CLUSTERS, Selection, selection_of
from daskjob.submit.client.connection import Connection
from daskjob.submit.client.errors import ClustersNotInstalled
from daskjob.submit.client.mistakes import RejectedByServer
from daskjob.submit.clusters.cluster import ANNOTATION_CREATION, Cluster, scaling
from daskjob.submit.clusters.forwards import Forwards, forwards

logger = logging.getLogger("daskjob")

#: How long a creation of unknown outcome is repeated.
BUDGET_SECONDS = 60.0
#: After this time without a status, a message says that there is no operator.
PICK_UP_SECONDS = 10.0

Notify = Callable[[str], None]


class AsyncClusterClient:
    """The clusters of one namespace.

    ::

        async with AsyncClusterClient("team") as client:
            cluster = await client.create(manifest)
            await client.wait(cluster, timeout_seconds=300)
            async with client.connected(cluster) as ways:
                ...  # Client(ways.scheduler_address, asynchronous=True)

    It connects on first use. Every method raises ``Forbidden`` if a permission is missing, with the
    rule of a Role to grant it, and ``NotInstalled`` if the API server does not know DaskClusters.
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
        patience: Patience | None = None,
    ) -> None:
        """Prepare a client; the arguments are those of ``AsyncJobClient``."""
        self._namespace = namespace
        self._notify = notify or logger.warning
        self._connection = Connection(
            credentials or (lambda: find_credentials(kubeconfig, context)),
            lambda found: Api(found, on_request=on_request, patience=patience),
        )

    @classmethod
    def from_client(
        cls, client: object, namespace: str = "", *, notify: Notify | None = None
    ) -> AsyncClusterClient:
        """Return a client with the credentials of one of kr8s, kubernetes or kubernetes_asyncio."""
        return cls(namespace, credentials=credentials_of(client), notify=notify)

    async def __aenter__(self) -> AsyncClusterClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection of the running event loop; the next call opens another one."""
        await self._connection.close()

    async def namespace(self) -> str:
        """Return the namespace of the clusters."""
        if not self._namespace:
            session = await self._connection.session()
            self._namespace = await session.credentials.namespace()
        return self._namespace

    async def api(self) -> Api:
        """Return the connection of the running event loop."""
        return (await self._connection.session()).api

    async def create(self, manifest: Manifest) -> Cluster:
        """Create a cluster from a DaskCluster, once, also if a response is lost.

        The annotation ``ANNOTATION_CREATION`` identifies the creation; it is added unless the
        manifest has it.

        Raises
        ------
        Conflict
            There is a cluster of this name.
        Invalid
            With every mistake of the manifest.
        """
        session = await self._connection.session()
        meta = metadata(manifest)
        noted = {ANNOTATION_CREATION: secrets.token_hex(8), **mapping(meta.get("annotations"))}
        creation = noted[ANNOTATION_CREATION]
        namespace = str(meta.get("namespace") or "") or await self.namespace()
        named = {**meta, "namespace": namespace, "annotations": noted}
        ref = ObjectRef(Kind.CLUSTER, namespace, str(meta["name"]))
        with _as_errors_of_clusters(ref):
            return await _created(session.api, {**manifest, "metadata": named}, ref, creation)

    async def list(self, *, all_namespaces: bool = False) -> tuple[Cluster, ...]:
        """Return all clusters of the namespace, those of jobs included, by name."""
        session = await self._connection.session()
        namespace = None if all_namespaces else await self.namespace()
        with _as_errors_of_clusters():
            found = await list_objects(session.api, Selection(CLUSTERS, namespace))
            if not found.items and namespace:
                await check_namespace(session.api, namespace)
        return tuple(
            sorted(map(Cluster, found.items), key=lambda item: (item.ref.namespace, item.name))
        )

    async def get(self, name: str) -> Cluster:
        """Return the cluster of this name.

        Raises
        ------
        NotFound
            There is none; the message names the existing ones.
        """
        session = await self._connection.session()
        namespace = await self.namespace()
        try:
            with _as_errors_of_clusters():
                return Cluster(
                    await get_object(session.api, ObjectRef(Kind.CLUSTER, namespace, name))
                )
        except NotFound:
            existing = "none"
            try:
                existing = ", ".join(item.name for item in await self.list()) or "none"
            except NoNamespace:
                raise
            except DaskJobError:
                pass
            raise NotFound(
                f"there is no cluster {name!r} in namespace {namespace}; existing ones: {existing}"
            ) from None

    async def scale(self, cluster: Cluster, workers: int) -> None:
        """Set the number of workers of the default group.

        Raises
        ------
        Conflict
            They are scaled automatically.
        NotFound
            The cluster was deleted.
        """
        patch = scaling(cluster, workers)
        if patch is not None:
            session = await self._connection.session()
            with _as_errors_of_clusters():
                await session.api.patch(cluster.ref, patch, metadata_only=True)

    async def delete(self, cluster: Cluster, *, force: bool = False) -> None:
        """Delete a cluster with everything that belongs to it; one that is gone is no error.

        Raises
        ------
        Conflict
            It belongs to a job, and ``force`` is not set.
        """
        if cluster.job and not force:
            raise Conflict(
                f"{cluster.name} belongs to job {cluster.job}, which ends with it: cancel the job"
            )
        session = await self._connection.session()
        with suppress(NotFound, Replaced):
            await session.api.delete(cluster.ref, metadata_only=True)

    async def wait(
        self,
        cluster: Cluster,
        *,
        workers: int | None = None,
        timeout_seconds: float | None = None,
    ) -> Cluster:
        """Wait until the scheduler runs, with this many workers; by default with all.

        Raises
        ------
        Timeout
            With what the cluster waits for; it stays.
        NotFound
            It was deleted.
        """
        session = await self._connection.session()
        last = cluster
        reminder = asyncio.get_running_loop().call_later(PICK_UP_SECONDS, self._remind, cluster.ref)
        try:
            async with (
                asyncio.timeout(timeout_seconds),
                watching(session.api, selection_of(cluster.ref)) as changes,
            ):
                async for change in changes:
                    if change.ref.uid != cluster.ref.uid:
                        continue
                    if change.gone or change.manifest is None:
                        raise NotFound(f"{cluster.name} was deleted")
                    last = Cluster(change.manifest)
                    if last.status.phase is not None:
                        reminder.cancel()
                    if last.is_ready(workers):
                        return last
        except TimeoutError:
            raise Timeout(
                f"{cluster.name} is not ready within {timeout_seconds:g} s: {last.state()}"
            ) from None
        finally:
            reminder.cancel()
        raise AssertionError("a watch never ends")

    async def gone(self, cluster: Cluster) -> None:
        """Wait until the cluster is deleted, and raise ``NotFound`` then."""
        session = await self._connection.session()
        async with watching(session.api, selection_of(cluster.ref)) as changes:
            async for change in changes:
                is_it = change.ref.uid == cluster.ref.uid
                if is_it == change.gone:
                    raise NotFound(f"cluster {cluster.name} was deleted")

    async def job_ended(self, ref: ObjectRef) -> None:
        """Wait until a job has ended, or was deleted."""
        session = await self._connection.session()
        async with watching(session.api, selection_of(ref)) as changes:
            async for change in changes:
                if change.ref.uid != ref.uid:
                    continue
                status = mapping((change.manifest or {}).get("status"))
                if change.gone or job_status_from(status).finished:
                    return

    def _remind(self, ref: ObjectRef) -> None:
        self._notify(
            f"no operator has picked up {ref.name} yet; check that one watches namespace "
            f"{ref.namespace}, or install it: {HOW_TO_INSTALL}"
        )

    @asynccontextmanager
    async def connected(
        self,
        cluster: Cluster,
        *,
        port: int = 0,
        dashboard_port: int = 0,
        address: str = LOOPBACK,
        comm: bool = True,
        timeout_seconds: float | None = None,
    ) -> AsyncIterator[Forwards]:
        """Forward local ports to the scheduler and its dashboard during the block.

        They stay the same while the scheduler's pod is replaced and the connection to the API
        server is lost. ``port`` 0 is the scheduler's own port if that is free here, else any. With
        ``comm`` false, only the dashboard is forwarded.

        Raises
        ------
        PortTaken
            A local port is in use.
        Timeout
            The scheduler cannot be reached; with the reason.
        """
        session = await self._connection.session()
        async with forwards(
            session.api,
            cluster,
            port=port,
            dashboard_port=dashboard_port,
            address=address,
            comm=comm,
            notify=self._notify,
        ) as found:
            await found.ready(timeout_seconds)
            yield found


async def _created(api: Api, manifest: Manifest, ref: ObjectRef, creation: str) -> Cluster:
    give_up = time.monotonic() + BUDGET_SECONDS
    wait = 0.1
    while True:
        try:
            return Cluster(read_object(await api.create(manifest)))
        except AlreadyExists as error:
            with suppress(NotFound):
                found = await get_object(api, ref)
                noted = mapping(metadata(found).get("annotations")).get(ANNOTATION_CREATION)
                if noted == creation:
                    return Cluster(found)
                state = " and is being deleted" if metadata(found).get("deletionTimestamp") else ""
                raise Conflict(
                    f"cluster {ref.name} exists already in namespace {ref.namespace}{state}"
                ) from error
            last: DaskJobError = error
        except NotFound as error:
            raise in_words_of_namespaces(error) from error
        except OutcomeUnknown as error:
            last = error
        if time.monotonic() + wait >= give_up:
            raise last
        await asyncio.sleep(wait * random.uniform(0.5, 1.0))
        wait = min(wait * 2, 5.0)


@contextmanager
def _as_errors_of_clusters(ref: ObjectRef | None = None) -> Iterator[None]:
    """Raise errors in the words of clusters."""
    try:
        yield
    except Replaced as error:
        raise NotFound(str(error)) from error
    except NoSuchResource:
        raise ClustersNotInstalled() from None
    except CreateRejected as error:
        if ref is None or error.kind is not RejectionKind.INVALID:
            raise
        raise Invalid(error.name, [RejectedByServer(error.message)]) from error
