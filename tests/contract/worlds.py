"""What the contract suite needs of a world beyond the ``Backend`` protocol: how to make it move.

A world is a backend in which pods can be made to run and to end. The fake one obeys at once;
a world of processes, or a Kubernetes, gets there in its own time: that is what ``until`` is for.
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


class World(Protocol):
    """A backend, and the hands that a test has in its world."""

    #: The namespace in which a test may make what it likes.
    namespace: str

    @property
    def backend(self) -> Backend:
        """The backend that is tested."""
        ...

    async def opened(self) -> None:
        """Begin, in the event loop of the test."""
        ...

    async def submit(self, manifest: Manifest) -> Key:
        """Put an object into the world as a user does."""
        ...

    async def remove(self, key: Key) -> None:
        """Delete an object as a user does."""
        ...

    async def get(self, kind: str, name: str) -> Manifest | None:
        """Return an object as the world holds it, past the backend."""
        ...

    async def exists(self) -> set[str]:
        """Return what exists in the namespace, as ``Kind/name``."""
        ...

    async def settle(self) -> None:
        """Let passes be made over everything until nothing changes at this moment."""
        ...

    async def run_pod(self, name: str) -> None:
        """See to it that a pod's containers run (and are ready)."""
        ...

    async def end_pod(self, name: str, exit_code: int) -> None:
        """See to it that a pod's main container ends with this code."""
        ...

    async def until(self, true: Callable[[], object]) -> None:
        """Let time pass, a bounded while, until it is true; fail where it never is."""
        ...

    async def moment(self) -> None:
        """Let a moment pass in which whoever runs pods does its part."""
        ...

    async def close(self) -> None:
        """Leave nothing behind."""
        ...


class FakeWorld:
    """The world in memory."""

    namespace = "default"

    def __init__(self) -> None:
        self._fake = FakeBackend()

    @property
    def backend(self) -> Backend:
        """The fake backend."""
        return self._fake

    async def opened(self) -> None:
        """There is nothing to begin."""

    async def submit(self, manifest: Manifest) -> Key:
        """Put an object into the store."""
        return self._fake.submit(manifest)

    async def remove(self, key: Key) -> None:
        """Delete an object and let its pods go."""
        item = self._fake.store.get(key)
        if item is not None:
            self._fake.store.delete(object_ref(item))
        self._fake.kubelet()

    async def get(self, kind: str, name: str) -> Manifest | None:
        """Return an object of the store."""
        return self._fake.store.get(Key(kind, self.namespace, name))

    async def exists(self) -> set[str]:
        """Return all that is in the store."""
        return {f"{o['kind']}/{metadata(o)['name']}" for o in self._fake.store.all()}

    async def settle(self) -> None:
        """Make passes until nothing changes, pods that are to go gone."""
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
        """Start the pod; a scheduler that has nothing to do wants no workers."""
        self._fake.start(self._fake.pod(name))
        if name in self.schedulers():
            groups = [o for o in self._fake.store.all() if o["kind"] == names.Kind.GROUP]
            self._fake.want(**{metadata(group)["name"]: 0 for group in groups})

    async def end_pod(self, name: str, exit_code: int) -> None:
        """End the pod."""
        self._fake.exit(self._fake.pod(name), exit_code)

    async def until(self, true: Callable[[], object]) -> None:
        """Let up to a minute pass, a second at a time."""
        for _ in range(60):
            if true():
                return
            await self.moment()
        assert true(), "still not true after 60 s"

    async def moment(self) -> None:
        """Let a second pass, and the kubelet do its part."""
        self._fake.advance(1)
        self._fake.kubelet()

    async def close(self) -> None:
        """Nothing is left: it was all in memory."""

    def schedulers(self) -> list[str]:
        """The names of the scheduler pods."""
        pods = map(pod_facts, self._fake.pods(names.Component.SCHEDULER))
        return [pod.ref.name for pod in pods]
