"""Shared by tests of the Kubernetes backend: connections to a server, and objects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.watching.informer import Informer, Pace
from daskjob.backends.kubernetes.watching.items import Item, ItemDecoder
from daskjob.backends.kubernetes.watching.kinds import PODS, Watched, watched_kind
from daskjob.backends.kubernetes.writing.cached_api import CachedApi
from daskjob.core import names
from daskjob.core.manifests import Key, Manifest, ObjectRef
from daskjob.kube.access import Access
from daskjob.kube.api import Api
from daskjob.kube.kubeconfig import Kubeconfig
from tests.cluster.proxy import FaultProxy
from tests.waiting import until

T = TypeVar("T")

KEY = Key("DaskJob", "default", "sums")
#: As the real one, but faster: tests poll or count, and never sleep.
QUICK = Pace(idle=1.0, duration=60.0, shortest=0.05, longest=0.4, sound=5.0)


class Cluster(Protocol):
    """The part of the fixture ``kubernetes`` that these tests need."""

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of an administrator."""
        ...


class Kubectl(Protocol):
    """The fixture ``kubectl``: run it in the test's namespace, and return its output."""

    def __call__(self, *arguments: str, stdin: str | None = None) -> str: ...


class Plain:
    """Credentials that never change: the proxy's."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self.renewals = 0

    async def access(self) -> Access:
        return self._access

    async def renew(self, rejected: Access) -> Access:
        del rejected
        self.renewals += 1
        return self._access

    async def namespace(self) -> str:
        return "default"

    def at_once(self) -> tuple[Access, str]:
        return self._access, "default"


@dataclass(frozen=True)
class Others:
    """Another client, which changes pods of a namespace and bypasses the proxy."""

    api: Api

    async def create(self, *names: str, namespace: str, cluster: str = "sums") -> None:
        for name in names:
            await self.api.create(pod(name, namespace, cluster=cluster))

    async def delete(self, *names: str, namespace: str) -> None:
        for name in names:
            await self.api.delete(ObjectRef("Pod", namespace, name), grace_seconds=0)

    async def label(self, name: str, namespace: str, **labels: str | None) -> None:
        body = {"metadata": {"labels": labels}}
        await self.api.patch(ObjectRef("Pod", namespace, name), body)

    async def label_ours(self, name: str, namespace: str, value: str | None) -> None:
        body = {"metadata": {"labels": {names.LABEL_CLUSTER_NAME: value}}}
        await self.api.patch(ObjectRef("Pod", namespace, name), body)

    async def see(self, namespace: str) -> list[str]:
        """Return the server's pods with our label, each as ``name=version``."""
        page = ItemDecoder(PODS).page(await self.api.list_page(PODS.within(namespace), limit=500))
        return sorted(f"{item.ref.name}={item.version}" for item in page.items)


@dataclass
class Side:
    """A client's side: requests, a cache, and the reported changes."""

    api: Api
    #: Another client, which talks to the server directly and patiently.
    others: Others
    cache: Cache
    writes: CachedApi
    proxy: FaultProxy
    credentials: Plain
    changes: list[tuple[Item | None, Item | None]] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        """Return the names of the pods in the cache."""
        return {item.ref.name for item in self.cache.all("Pod")}

    @property
    def held(self) -> list[str]:
        """Return the pods in the cache, each as ``name=version``."""
        return sorted(f"{item.ref.name}={item.version}" for item in self.cache.all("Pod"))


@asynccontextmanager
async def side_of(cluster: Cluster, **options: Any) -> AsyncIterator[Side]:
    """Open a client's side behind a proxy that passes everything on until given rules."""
    async with AsyncExitStack() as stack:
        direct = await Kubeconfig(str(cluster.kubeconfig)).access()
        proxy = await stack.enter_async_context(FaultProxy(direct))
        credentials = Plain(Access(proxy.url))
        api = await stack.enter_async_context(Api(credentials, **options))
        others = Others(await stack.enter_async_context(Api(Plain(direct))))
        cache = Cache()
        found = Side(api, others, cache, CachedApi(api, cache), proxy, credentials)
        cache.watch(lambda old, new: found.changes.append((old, new)))
        yield found


@asynccontextmanager
async def informed(
    found: Side, namespace: str, watched: Watched = PODS, pace: Pace = QUICK, **options: Any
) -> AsyncIterator[Informer]:
    """Run an informer, and wait for its first list."""
    informer = Informer(found.api, found.cache, watched, namespace=namespace, pace=pace, **options)
    task = asyncio.create_task(informer.run())
    try:
        await until(lambda: informer.synced.is_set() or task.done())
        yield informer
        assert not task.done(), "the informer has ended"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def run(story: Coroutine[Any, Any, T] | Awaitable[T]) -> T:
    """Run a coroutine to its end, from a test that is not async."""

    async def ended() -> T:
        return await story

    return asyncio.run(ended())


def pod(name: str, namespace: str, *, cluster: str = "sums", **metadata: Any) -> Manifest:
    """Return a pod that waits for a missing scheduler, and so never changes by itself."""
    labels = {names.LABEL_CLUSTER_NAME: cluster} if cluster else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, **metadata},
        "spec": {
            "schedulerName": "nobody",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [{"name": "main", "image": "nowhere.invalid/nothing"}],
        },
    }


def seen(manifest: Manifest, version: int, uid: str = "", **status: Any) -> Item:
    """Return an object as a server would send it."""
    meta = {**manifest["metadata"], "resourceVersion": str(version)}
    meta.setdefault("uid", uid or f"uid-{meta['name']}")

    data = msgspec.json.encode(
        {**manifest, "metadata": meta, **({"status": status} if status else {})}
    )
    return ItemDecoder(watched_kind(manifest["kind"])).item(data)
