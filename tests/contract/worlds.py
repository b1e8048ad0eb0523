"""What the contract suite needs beyond the ``Backend`` protocol: control over pods and time.

A world is a backend in which a test can start and end pods. The fake does so at once; processes and
a Kubernetes take time, hence ``until``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from daskjob.backends.fake import FakeBackend
from daskjob.core import names
from daskjob.core.backend import Backend
from daskjob.core.errors import ApiError
from daskjob.core.manifests import Key, Manifest, metadata, object_ref
from daskjob.core.pods import pod_facts
from daskjob.core.reconcile import reconcile


class ContractWorld(Protocol):
    """A backend, and a test's control over it."""

    #: The namespace in which a test may create objects.
    namespace: str

    @property
    def backend(self) -> Backend:
        """The backend under test."""
        ...

    async def opened(self) -> None:
        """Open the world in the event loop of the test."""
        ...

    async def submit(self, manifest: Manifest) -> Key:
        """Create an object as a user does."""
        ...

    async def remove(self, key: Key) -> None:
        """Delete an object as a user does."""
        ...

    async def get(self, kind: str, name: str) -> Manifest | None:
        """Return an object as stored, bypassing the backend."""
        ...

    async def exists(self) -> set[str]:
        """Return what exists in the namespace, as ``Kind/name``."""
        ...

    async def settle(self) -> None:
        """Run passes over everything until nothing changes, without advancing time."""
        ...

    async def run_pod(self, name: str) -> None:
        """Make a pod's containers run (and be ready)."""
        ...

    async def end_pod(self, name: str, exit_code: int) -> None:
        """Make a pod's main container end with this code."""
        ...

    async def until(self, true: Callable[[], object]) -> None:
        """Let time pass until the condition is true; fail after a limit."""
        ...

    async def moment(self) -> None:
        """Let time pass in which the kubelet acts."""
        ...

    async def close(self) -> None:
        """Leave nothing behind."""
        ...


class FakeWorld:
    """The fake backend in the contract suite."""

    namespace = "default"

    def __init__(self) -> None:
        self._fake = FakeBackend()

    @property
    def backend(self) -> Backend:
        """The fake backend."""
        return self._fake

    async def opened(self) -> None:
        """Nothing to open."""

    async def submit(self, manifest: Manifest) -> Key:
        """Create an object in the store."""
        return self._fake.submit(manifest)

    async def remove(self, key: Key) -> None:
        """Delete an object and its pods."""
        item = self._fake.store.get(key)
        if item is not None:
            self._fake.store.delete(object_ref(item))
        self._fake.kubelet()

    async def get(self, kind: str, name: str) -> Manifest | None:
        """Return an object of the store."""
        return self._fake.store.get(Key(kind, self.namespace, name))

    async def exists(self) -> set[str]:
        """Return everything in the store."""
        return {f"{o['kind']}/{metadata(o)['name']}" for o in self._fake.store.all()}

    async def settle(self) -> None:
        """Run passes until nothing changes and terminating pods are gone."""
        for _ in range(4):
            for _ in range(30):
                before = len(self._fake.writes)
                for key in self._fake.subjects():
                    try:
                        await reconcile(self._fake, key, self._fake.now)
                    except ApiError:
                        continue
                if len(self._fake.writes) == before:
                    break
            self._fake.kubelet()

    async def run_pod(self, name: str) -> None:
        """Start the pod; an idle scheduler wants no workers."""
        self._fake.start(self._fake.pod(name))
        if name in self.schedulers():
            groups = [o for o in self._fake.store.all() if o["kind"] == names.Kind.GROUP]
            self._fake.want(**{metadata(group)["name"]: 0 for group in groups})

    async def end_pod(self, name: str, exit_code: int) -> None:
        """End the pod."""
        self._fake.exit(self._fake.pod(name), exit_code)

    async def until(self, true: Callable[[], object]) -> None:
        """Advance up to a minute, a second at a time."""
        for _ in range(60):
            if true():
                return
            await self.moment()
        assert true(), "still not true after 60 s"

    async def moment(self) -> None:
        """Advance a second, and act as the kubelet."""
        self._fake.advance(1)
        self._fake.kubelet()

    async def close(self) -> None:
        """Nothing to close: all of it was in memory."""

    def schedulers(self) -> list[str]:
        """Return the names of the scheduler pods."""
        pods = map(pod_facts, self._fake.pods(names.Component.SCHEDULER))
        return [pod.ref.name for pod in pods]
