"""A client of a real API server behind a proxy that injects faults, in both of its forms."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest

from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.core.names import Kind
from daskjob.kube.access import Access
from daskjob.kube.api import Api
from daskjob.kube.kubeconfig import Kubeconfig
from daskjob.submit.client.async_client import AsyncJobClient
from daskjob.submit.client.sync_client import JobClient
from daskjob.submit.jobs import JobRef
from tests.cluster.proxy import FaultProxy
from tests.kubernetes.given import Cluster, Plain

T = TypeVar("T")

RUNNING: Manifest = {
    "jobStatus": "Running",
    "phase": "Running",
    "attempt": 0,
    "jobRunnerPodName": "sums-runner",
}
ENDED = {"attempt": 0, "endTime": "2026-01-01T00:00:00Z"}
SUCCEEDED: Manifest = {
    **ENDED,
    "jobStatus": "Successful",
    "phase": "Succeeded",
    "reason": "Completed",
    "exitCode": 0,
    "result": {"total": 3},
}
FAILED: Manifest = {
    **ENDED,
    "jobStatus": "Failed",
    "phase": "Failed",
    "reason": "ExitCode",
    "message": "the runner exited with 3.",
    "exitCode": 3,
}

twins = pytest.mark.parametrize("form", ["async", "sync"])


def job(name: str = "sums", *, code: str = "pass", **spec: Any) -> Manifest:
    """Return a valid DaskJob, which no operator runs."""
    pod = {"containers": [{"name": "job", "image": "none", "args": ["python", "-c", code]}]}
    cluster = {
        "worker": {"replicas": 1, "spec": pod},
        "scheduler": {"spec": pod},
    }
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": name},
        "spec": {"job": {"spec": pod}, "cluster": {"spec": cluster}, **spec},
    }


class Blocking:
    """A ``JobClient`` for async tests: each call blocks a thread of its own."""

    def __init__(self, client: JobClient) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)
        if name in ("logs", "watch"):
            return lambda *args, **kwargs: _of_thread(lambda: method(*args, **kwargs))
        return lambda *args, **kwargs: asyncio.to_thread(method, *args, **kwargs)


async def _of_thread(make: Callable[[], Iterator[T]]) -> AsyncGenerator[T, None]:
    """Yield what an iterator yields in a thread, which ends with this generator."""
    found: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    stop = threading.Event()

    def drain() -> None:
        try:
            with contextlib.closing(make()) as items:  # type: ignore[type-var]
                for item in items:
                    found.put(("item", item))
                    if stop.is_set():
                        return
        except Exception as error:
            found.put(("error", error))
        else:
            found.put(("end", None))

    thread = threading.Thread(target=drain, daemon=True)
    thread.start()
    try:
        while True:
            while found.empty():
                await asyncio.sleep(0.005)
            what, value = found.get()
            if what == "error":
                raise value
            if what == "end":
                return
            yield value
    finally:
        stop.set()


@dataclass
class Given:
    """A client, and the other side of what it does."""

    client: Any
    proxy: FaultProxy
    #: The administrator's requests, past the proxy.
    admin: Api
    namespace: str
    messages: list[str] = field(default_factory=list)

    def object_ref(self, ref: JobRef) -> ObjectRef:
        return ObjectRef(Kind.JOB, ref.namespace, ref.name, ref.uid)

    async def report(self, ref: JobRef, status: Manifest) -> None:
        """Write a status, as an operator does."""
        await self.admin.replace_status(self.object_ref(ref), status)

    async def remove(self, ref: JobRef) -> None:
        await self.admin.delete(self.object_ref(ref))

    def count(self, verb: str, resource: str = "daskjobs") -> int:
        return len(self.proxy.requests(verb, resource))


@asynccontextmanager
async def given_client(cluster: Cluster, namespace: str, form: str) -> AsyncIterator[Given]:
    """Open a client behind a proxy."""
    async with AsyncExitStack() as stack:
        direct = await Kubeconfig(str(cluster.kubeconfig)).access()
        proxy = await stack.enter_async_context(FaultProxy(direct))
        admin = await stack.enter_async_context(Api(Plain(direct)))
        found = Given(None, proxy, admin, namespace)
        options: dict[str, Any] = {
            "credentials": lambda: Plain(Access(proxy.url)),
            "notify": found.messages.append,
        }
        if form == "async":
            client = AsyncJobClient(namespace, **options)
            found.client = await stack.enter_async_context(client)
        else:
            blocking = JobClient(namespace, **options)
            stack.push_async_callback(asyncio.to_thread, blocking.close)
            found.client = Blocking(blocking)
        yield found
