"""Passes over a namespace of a real Kubernetes, behind a proxy, with the test's own clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from daskjob.backends.kubernetes.backend import KubernetesBackend
from daskjob.backends.kubernetes.watching.wakes import SOON_SECONDS
from daskjob.controller.passes import Passes
from daskjob.core.manifests import Key, Manifest, ObjectRef
from daskjob.core.observed import Platform
from daskjob.core.pods import PodFacts
from daskjob.kube.access import Access
from daskjob.kube.api import Api
from daskjob.kube.kubeconfig import Kubeconfig
from tests.cluster.proxy import FaultProxy
from tests.kubernetes.given import Cluster, Plain
from tests.waiting import until


@dataclass
class Clock:
    """The time of day, which a test can advance."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Passing:
    """A backend, and the passes over all its objects."""

    backend: KubernetesBackend
    passes: Passes
    proxy: FaultProxy
    clock: Clock
    #: Another client, which talks to the server directly.
    others: Api
    #: Kinds of watches that broke.
    broken: list[str] = field(default_factory=list)

    def later(self, seconds: float) -> None:
        """Let time pass, and wake all passes."""
        self.clock.ahead += timedelta(seconds=seconds)
        self.look()

    def look(self) -> None:
        """Wake all passes."""
        for key in self.backend.subjects():
            self.passes.wake(key)

    def status(self, key: Key) -> Manifest:
        """Return the status of an object from the cache."""
        item = self.backend.cache.get(key.kind, key.namespace, key.name)
        return dict((item.manifest or {}).get("status") or {}) if item else {}

    def condition(self, key: Key, kind: str) -> tuple[str, str]:
        """Return reason and message of a condition; empty if there is none."""
        conditions = self.status(key).get("conditions") or []
        found: Manifest = next((c for c in conditions if c["type"] == kind), {})
        return found.get("reason", ""), found.get("message", "")

    def pod(self, key: Key, name: str) -> PodFacts | None:
        """Return a pod of an object's namespace from the cache."""
        item = self.backend.cache.get("Pod", key.namespace, name)
        return item.pod if item else None

    async def at_rest(self) -> None:
        """Wait until no pass is due or running, and no request to a scheduler either."""
        await until(lambda: not self._busy())

    def _busy(self) -> bool:
        queue = self.passes.queue
        # Keys due soon only wait for more changes.
        soon = queue._clock() + SOON_SECONDS
        under_way = any(
            entry.taken or entry.since is not None or (entry.timer and entry.due <= soon)
            for entry in queue._entries.values()
        )
        return under_way or bool(self.backend._background)


@asynccontextmanager
async def passing(cluster: Cluster, *namespaces: str) -> AsyncIterator[Passing]:
    """Make passes over everything in some namespaces during the block."""
    async with AsyncExitStack() as stack:
        direct = await Kubeconfig(str(cluster.kubeconfig)).access()
        proxy = await stack.enter_async_context(FaultProxy(direct))
        others = await stack.enter_async_context(Api(Plain(direct)))
        clock, broken = Clock(), list[str]()
        backend = KubernetesBackend(
            Api(Plain(Access(proxy.url))),
            Platform(),
            namespaces,
            clock,
            on_watch_broken=broken.append,
        )
        await stack.enter_async_context(backend)
        passes = Passes(backend, now=clock)
        backend.subscribe(passes.wake)
        tasks = [asyncio.create_task(backend.run())]
        try:
            await until(lambda: all(i.synced.is_set() for i in backend.informers))
            tasks.append(asyncio.create_task(passes.run()))
            yield Passing(backend, passes, proxy, clock, others, broken)
            assert not any(task.done() for task in tasks), "the passes, or the watches, have ended"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def ref_of(found: Passing, key: Key) -> ObjectRef:
    """Return a reference to an object, with its uid."""
    item = found.backend.cache.get(key.kind, key.namespace, key.name)
    assert item is not None
    return item.ref
