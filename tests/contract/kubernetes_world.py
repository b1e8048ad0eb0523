"""A real Kubernetes in the contract suite: real pods of a real Dask image.

Only the runner differs from its manifest: it waits until the test sets its exit code. A user's
actions go through kubectl, bypassing the backend.
"""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib import resources
from itertools import chain

from daskjob.backends.kubernetes.backend import KubernetesBackend
from daskjob.core import names
from daskjob.core.backend import Backend
from daskjob.core.desired.agent import shortened
from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import Key, Manifest, metadata
from daskjob.core.observed import Platform
from daskjob.core.pods import PodFacts
from daskjob.core.reconcile import reconcile
from daskjob.kube.api import Api
from daskjob.kube.credentials import find_credentials
from tests.cluster.plugin import Kubernetes
from tests.waiting import until

#: How long a cluster may take for a change, including the start and end of pods.
PATIENCE_SECONDS = 150.0
WAITS = "while [ ! -e /tmp/code ]; do sleep 0.05; done; exit $(cat /tmp/code)"
#: How long there must be no change before the world counts as settled.
QUIET_SECONDS = 1.0
KINDS = ("Pod", "Service", "ConfigMap", *names.Kind)
#: Objects that Kubernetes itself creates in every namespace.
GIVEN = {"ConfigMap/kube-root-ca.crt"}


class _Backend(KubernetesBackend):
    """The backend, with pods of the tests' image, and runners that wait for the test."""

    image = ""

    async def create(self, owner: Key, manifest: Manifest) -> None:
        """Create an object, a pod with the changes above."""
        if manifest["kind"] == "Pod":
            manifest = self._here(copy.deepcopy(manifest))
        await super().create(owner, manifest)

    def _here(self, pod: Manifest) -> Manifest:
        spec = pod["spec"]
        spec["terminationGracePeriodSeconds"] = 1
        runner = (metadata(pod).get("labels") or {}).get(names.LABEL_COMPONENT) == "job-runner"
        for container in spec["containers"]:
            container.update(image=self.image, imagePullPolicy="IfNotPresent")
            if runner:
                container.pop("args", None)
                container["command"] = ["sh", "-c", WAITS]
        return pod


class KubernetesWorld:
    """One namespace of a Kubernetes; the backend ends with the event loop of the test."""

    def __init__(self, kubernetes: Kubernetes, fresh: AbstractContextManager[str]) -> None:
        self._kubernetes = kubernetes
        self._fresh = fresh
        self.namespace = fresh.__enter__()
        self._life: asyncio.Task[None] | None = None
        self._moved = time.monotonic()
        agent = resources.files("daskjob").joinpath("agent.py").read_text()
        self._image = kubernetes.image("dask")
        self._platform = Platform(agent=shortened(agent))

    @property
    def backend(self) -> Backend:
        """The backend of this namespace."""
        return self._kube

    async def opened(self) -> None:
        """Open the backend in the loop of the test."""
        credentials = find_credentials(str(self._kubernetes.kubeconfig))
        self._kube = _Backend(Api(credentials), self._platform, [self.namespace])
        self._kube.image = self._image
        self._kube.subscribe(self._note)
        self._life = asyncio.create_task(self._live())
        await self._until(lambda: all(i.synced.is_set() for i in self._kube.informers))

    async def _live(self) -> None:
        async with self._kube:
            await self._kube.run()

    def _note(self, key: Key, within: float = 0.0) -> None:
        del key, within
        self._moved = time.monotonic()

    async def _kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return await asyncio.to_thread(
            self._kubernetes.kubectl, f"--namespace={self.namespace}", *arguments, stdin=stdin
        )

    async def submit(self, manifest: Manifest) -> Key:
        """Create an object; wait until the backend's cache has it."""
        manifest = copy.deepcopy(manifest)
        manifest["metadata"]["namespace"] = self.namespace
        await self._kubectl("create", "-f", "-", stdin=json.dumps(manifest))
        key = Key(manifest["kind"], self.namespace, manifest["metadata"]["name"])
        await self._until(lambda: self._kube.cache.get(key.kind, key.namespace, key.name))
        return key

    async def remove(self, key: Key) -> None:
        """Delete an object; wait until the backend's cache has dropped it."""
        await self._kubectl("delete", key.kind, key.name, "--wait=false")
        await self._until(lambda: not self._kube.cache.get(key.kind, key.namespace, key.name))

    async def get(self, kind: str, name: str) -> Manifest | None:
        """Return an object as the API server has it."""
        return await asyncio.to_thread(self._kubernetes.access.find, kind, self.namespace, name)

    async def exists(self) -> set[str]:
        """Return what exists in the namespace, except Kubernetes' own objects."""
        return await asyncio.to_thread(self._exists)

    def _exists(self) -> set[str]:
        items = (self._kubernetes.access.items(kind, self.namespace) for kind in KINDS)
        return {f"{o['kind']}/{metadata(o)['name']}" for o in chain(*items)} - GIVEN

    async def settle(self) -> None:
        """Run passes until nothing changes and every pod has started or ended."""
        while True:
            before = self._moved
            for key in self._kube.subjects():
                try:
                    await reconcile(self._kube, key, self._kube.clock())
                except DaskJobError:
                    continue
            await self.moment()
            if self._moved == before:
                return

    def _pods(self) -> Iterator[PodFacts]:
        return (item.pod for item in self._kube.cache.all("Pod") if item.pod)

    async def run_pod(self, name: str) -> None:
        """Wait until the pod runs, which it does by itself."""
        await self._until(lambda: any(p.ref.name == name and p.ready for p in self._pods()))

    async def end_pod(self, name: str, exit_code: int) -> None:
        """Have the runner exit."""
        # With a delay: otherwise this command would end with the container.
        written = f"echo {exit_code} > /tmp/new; (sleep 0.5; mv /tmp/new /tmp/code) > /dev/null &"
        await self._kubectl("exec", name, "--", "sh", "-c", written)
        await self._until(lambda: any(p.ref.name == name and p.ended for p in self._pods()))

    async def until(self, true: Callable[[], object]) -> None:
        """Wait for the condition, up to the limit."""
        await self._until(true)

    async def _until(self, true: Callable[[], object]) -> None:
        async def true_and_alive() -> object:
            if self._life is not None and self._life.done():
                await self._life
            return true()

        await until(true_and_alive, PATIENCE_SECONDS, pause=0.05)

    async def moment(self) -> None:
        """Wait until every pod has started or ended, and nothing has changed for a second."""
        await self._until(lambda: self._is_quiet() and all(map(self._at_rest, self._pods())))

    def _is_quiet(self) -> bool:
        return time.monotonic() - self._moved > QUIET_SECONDS

    async def close(self) -> None:
        """Delete the namespace; the backend ended with its event loop."""
        self._fresh.__exit__(None, None, None)

    def _at_rest(self, pod: PodFacts) -> bool:
        if self._kube.cache.of_uid(pod.owner_uid) is None:
            # Garbage collection will delete it.
            return False
        return pod.ended or (pod.ready and not pod.deleting and not pod.stop_asked)
