"""A Kubernetes scripted by a test: the fake backend, with a cache that reports changes.

It proves nothing about a real one; that backend has its own tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from daskjob.backends.fake import START, FakeBackend
from daskjob.core import names
from daskjob.core.backend import Wake
from daskjob.core.errors import ApiError, Conflict, NotFound
from daskjob.core.manifests import Key, Manifest, metadata, object_ref
from tests.controller import virtual_time


class LeaseStore:
    """The Leases of a cluster, in memory, with configurable latency."""

    def __init__(self) -> None:
        self.leases: dict[tuple[str, str], Manifest] = {}
        self.requests: list[str] = []
        #: Raised by every request while it is set.
        self.trouble: Exception | None = None
        self.seconds = 0.0
        self._version = 0

    async def get(self, namespace: str, name: str) -> Manifest | None:
        await self._asked(f"get {namespace}/{name}")
        return self.leases.get((namespace, name))

    async def create(self, manifest: Manifest) -> Manifest:
        where = self._where(manifest)
        await self._asked("create {}/{}".format(*where))
        if where in self.leases:
            raise Conflict("the lease exists already")
        return self._store(where, manifest)

    async def update(self, manifest: Manifest) -> Manifest:
        where = self._where(manifest)
        await self._asked("update {}/{}".format(*where))
        if where not in self.leases:
            raise NotFound("there is no such lease")
        if self.leases[where]["metadata"] != manifest["metadata"]:
            raise Conflict("the lease has changed")
        return self._store(where, manifest)

    def holder(self, namespace: str = "kube-system") -> str:
        """Return the holder of the operator's Lease."""
        lease = self.leases.get((namespace, "daskjob-operator"))
        return str(lease["spec"]["holderIdentity"]) if lease else ""

    def _where(self, manifest: Manifest) -> tuple[str, str]:
        return metadata(manifest)["namespace"], metadata(manifest)["name"]

    def _store(self, where: tuple[str, str], manifest: Manifest) -> Manifest:
        self._version += 1
        meta = {**metadata(manifest), "resourceVersion": str(self._version)}
        stored = {**manifest, "metadata": meta}
        self.leases[where] = stored
        return stored

    async def _asked(self, what: str) -> None:
        self.requests.append(what)
        await asyncio.sleep(self.seconds)
        if self.trouble is not None:
            raise self.trouble


class Line:
    """One operator's connection to the Leases, which a test can cut."""

    def __init__(self, leases: LeaseStore) -> None:
        self._leases = leases
        self.cut = False

    async def get(self, namespace: str, name: str) -> Manifest | None:
        self._check()
        return await self._leases.get(namespace, name)

    async def create(self, manifest: Manifest) -> Manifest:
        self._check()
        return await self._leases.create(manifest)

    async def update(self, manifest: Manifest) -> Manifest:
        self._check()
        return await self._leases.update(manifest)

    def _check(self) -> None:
        if self.cut:
            raise ApiError("no route to host")


class ScriptedWorld(FakeBackend):
    """The fake backend with the operator's interface to Kubernetes."""

    def __init__(self) -> None:
        self._base = START
        self._wakes: list[Wake] = []
        super().__init__()
        self.leases = LeaseStore()
        self.store.watch(self._wake_related)
        self.first_lists = asyncio.Event()
        self.first_lists.set()
        self.silent = 0.0
        self.closed = False
        #: Called right before each write.
        self.check: Callable[[], None] = lambda: None
        #: Every observation of a pass: its time and its key.
        self.observed: list[tuple[float, Key]] = []
        #: Called before each observation; may raise or wait.
        self.before_pass: Callable[[Key], None] = lambda _key: None
        #: Awaited by each observation.
        self.hold: asyncio.Event | None = None

    @property
    def now(self) -> datetime:
        """The time of day, from the story's clock."""
        try:
            return self._base + timedelta(seconds=virtual_time.clock() - 1000.0)
        except RuntimeError:
            return self._base

    @now.setter
    def now(self, moment: datetime) -> None:
        self._base = moment

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def synced(self) -> None:
        await self.first_lists.wait()

    def subscribe(self, wake: Wake) -> None:
        self._wakes.append(wake)

    def before_writes(self, check: Callable[[], None]) -> None:
        self.check = check

    def silent_seconds(self) -> float:
        return self.silent

    async def close(self) -> None:
        self.closed = True

    async def observe(self, key: Key):  # type: ignore[no-untyped-def]
        if asyncio.current_task() is not None:
            self.observed.append((virtual_time.clock(), key))
        if self.hold is not None:
            await self.hold.wait()
        self.before_pass(key)
        return await super().observe(key)

    def wake(self, *keys: Key) -> None:
        """Report a change of these keys, without changing anything."""
        for key in keys:
            for wake in self._wakes:
                wake(key)

    def times(self, key: Key) -> list[float]:
        """Return when passes observed an object, in seconds of the story."""
        return [at - 1000.0 for at, seen in self.observed if seen == key]

    def changed(self) -> None:
        """Wake every pass, since any may depend on the change, even on a report or a retirement."""
        super().changed()
        self.wake(*self.subjects())

    def _wake_related(self, old: Manifest | None, new: Manifest | None) -> None:
        ref = object_ref(old or {})
        if new is None and ref.kind in names.PASS_KINDS:
            self.wake(Key(ref.kind, ref.namespace, ref.name))
