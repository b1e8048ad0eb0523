"""The local backend in the contract suite: real processes, a real scheduler, real workers.

Only the runner differs from its manifest: it waits until the test sets its exit code.
"""

from __future__ import annotations

import asyncio
import copy
import os
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path

from daskjob.backends.local.backend import LocalBackend
from daskjob.backends.local.kubelet import Kubelet
from daskjob.backends.local.log_file import RunLogs
from daskjob.backends.local.ports import LOOPBACK, reserve
from daskjob.backends.local.processes import Processes
from daskjob.backends.local.retention import Limits
from daskjob.backends.local.run_folder import RunFolder
from daskjob.backends.local.translate import Machine
from daskjob.core import names
from daskjob.core.backend import Backend
from daskjob.core.errors import ApiError
from daskjob.core.manifests import Key, Manifest, metadata, object_ref
from daskjob.core.pods import PodFacts, pod_facts
from daskjob.core.reconcile import reconcile
from tests.waiting import until

#: How long processes may take to start or end.
PATIENCE_SECONDS = 20.0
WAITS = 'while [ ! -e "$0" ]; do sleep 0.02; done; exit $(cat "$0")'


class _Backend(LocalBackend):
    """The local backend, with runners that wait for the test."""

    async def create(self, owner: Key, manifest: Manifest) -> None:
        """Create an object; a runner ends with the exit code in its file."""
        if (metadata(manifest).get("labels") or {}).get(names.LABEL_COMPONENT) == "job-runner":
            manifest = copy.deepcopy(manifest)
            for container in manifest["spec"]["containers"]:
                container["command"] = ["sh", "-c", WAITS, str(self.code_file(manifest))]
                container.pop("args", None)
        await super().create(owner, manifest)

    def code_file(self, pod: Manifest) -> Path:
        """Return the file with a runner's exit code."""
        return self.folder.path / f"{metadata(pod)['name']}.code"


class LocalWorld:
    """The local backend; all of it ends with the event loop of the test."""

    namespace = "default"

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="contract-")
        self._path = Path(self._temporary.name)
        (self._path / "logs").mkdir()
        self._ports = reserve(2)
        comm, dashboard = (f"{LOOPBACK}:{port}" for port in self._ports.ports)
        self._local = _Backend(RunFolder(self._path), comm, dashboard)
        self._machine = Machine(
            comm=comm,
            dashboard=dashboard,
            environment=os.environ,
            cwd=self._path,
            memory_bytes=2**30,
            workers=2,
            scratch=self._path,
        )
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def backend(self) -> Backend:
        """The local backend."""
        return self._local

    async def opened(self) -> None:
        """Start the processes and the kubelet."""
        processes = Processes(f"contract-{uuid.uuid4().hex}")
        await processes.open()
        self._local.kubelet = Kubelet(
            self._local.store,
            processes,
            self._local.folder,
            self._path,
            self._machine,
            self._local.clock,
            logs=RunLogs(Limits().log_bytes),
            stdin=False,
        )
        self._tasks = [
            asyncio.create_task(self._local.kubelet.run()),
            asyncio.create_task(self._local.watch_schedulers()),
        ]

    async def submit(self, manifest: Manifest) -> Key:
        """Create an object in the store."""
        ref = object_ref(self._local.store.create(manifest))
        return Key(ref.kind, ref.namespace, ref.name)

    async def remove(self, key: Key) -> None:
        """Delete an object."""
        item = self._local.store.get(key)
        if item is not None:
            self._local.store.delete(object_ref(item))
        await self.moment()

    async def get(self, kind: str, name: str) -> Manifest | None:
        """Return an object of the store."""
        return self._local.store.get(Key(kind, self.namespace, name))

    async def exists(self) -> set[str]:
        """Return everything in the store."""
        return {f"{o['kind']}/{metadata(o)['name']}" for o in self._local.store.all()}

    async def settle(self) -> None:
        """Run passes until nothing changes and every pod has started or ended."""
        while True:
            before = self._versions()
            for key in self._local.subjects():
                try:
                    await reconcile(self._local, key, self._local.clock())
                except ApiError:
                    continue
            await self.moment()
            if self._versions() == before:
                return

    def _versions(self) -> set[tuple[str, str]]:
        """Return the versions of objects, and the collected reports: whatever a pass may change."""
        found = [metadata(item) for item in self._local.store.all()]
        reports = {(uid, "report") for uid in self._local.reports}
        return reports | {(str(meta["uid"]), str(meta["resourceVersion"])) for meta in found}

    def _pods(self) -> list[PodFacts]:
        return [pod_facts(o) for o in self._local.store.all() if o["kind"] == "Pod"]

    async def run_pod(self, name: str) -> None:
        """Wait until the pod runs, which it does by itself."""
        await self.until(lambda: any(p.ref.name == name and p.ready for p in self._pods()))

    async def end_pod(self, name: str, exit_code: int) -> None:
        """Have the runner exit."""
        (self._path / "code.new").write_text(str(exit_code))
        (self._path / "code.new").replace(self._path / f"{name}.code")
        await self.until(lambda: any(p.ref.name == name and p.ended for p in self._pods()))

    async def until(self, true: Callable[[], object]) -> None:
        """Wait for the condition, up to the limit."""
        await until(true, PATIENCE_SECONDS)

    async def moment(self) -> None:
        """Wait until every pod has started or ended and no answer is pending."""
        await self.until(
            lambda: not self._local.is_asking and all(_at_rest(pod) for pod in self._pods())
        )

    async def close(self) -> None:
        """Release the ports and the folder; the processes ended with their event loop."""
        self._ports.release()
        self._temporary.cleanup()


def _at_rest(pod: PodFacts) -> bool:
    return pod.ended or (pod.ready and not pod.deleting and not pod.stop_asked)
