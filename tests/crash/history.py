"""What became of the objects of a namespace, version by version, as the API server tells it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from daskjob.backends.kubernetes.connection import Access

Manifest = dict[str, Any]

DASK = "/apis/kubernetes.dask.org/v1"
#: The collections that a job's objects are in, by kind.
COLLECTIONS = {
    "DaskJob": (DASK, "daskjobs"),
    "DaskCluster": (DASK, "daskclusters"),
    "DaskWorkerGroup": (DASK, "daskworkergroups"),
    "Pod": ("/api/v1", "pods"),
    "Service": ("/api/v1", "services"),
}
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


@dataclass(frozen=True)
class Version:
    """An object at one moment; or its last, where it went."""

    kind: str
    object: Manifest
    gone: bool = False

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.object["metadata"]["name"])

    @property
    def uid(self) -> str:
        """The object's uid."""
        return str(self.object["metadata"]["uid"])


@dataclass
class Server:
    """A namespace of a real API server: what a user does there, and all that happens."""

    session: aiohttp.ClientSession
    access: Access
    namespace: str
    versions: list[Version] = field(default_factory=list)
    #: Objects that exist, by kind and name.
    objects: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def create(self, kind: str, manifest: Manifest) -> Manifest:
        """Create an object."""
        return await self._ask("POST", self._path(kind), json=manifest)

    async def patch(self, kind: str, name: str, patch: Manifest) -> Manifest:
        """Merge a patch into an object."""
        path = f"{self._path(kind)}/{name}"
        return await self._ask("PATCH", path, data=json.dumps(patch), headers=MERGE_PATCH)

    async def delete(self, kind: str, name: str) -> None:
        """Delete an object; it is gone when it is."""
        await self._ask("DELETE", f"{self._path(kind)}/{name}")

    async def until(self, true: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until something is true of the objects, which is asked whenever they change.

        Raises
        ------
        TimeoutError
            It never came true.
        """
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(lambda: bool(true()))

    def _path(self, kind: str) -> str:
        group, plural = COLLECTIONS[kind]
        return f"{group}/namespaces/{self.namespace}/{plural}"

    async def _ask(self, method: str, path: str, **more: Any) -> Manifest:
        headers = {**self.access.headers, **more.pop("headers", {})}
        url = self.access.server + path
        async with self.session.request(
            method, url, ssl=self.access.tls, headers=headers, **more
        ) as answer:
            found: Manifest = await answer.json()
            assert answer.status < 300, f"{method} {path}: {found}"
            return found

    async def _begin(self) -> None:
        space = {"metadata": {"name": self.namespace}}
        await self._ask("POST", "/api/v1/namespaces", json=space)
        account = f"/api/v1/namespaces/{self.namespace}/serviceaccounts"
        # Pods are refused until the namespace has its service account.
        async with asyncio.timeout(30):
            while not (await self._ask("GET", account))["items"]:
                await asyncio.sleep(0.05)

    async def _follow(self, kind: str) -> None:
        version = (await self._ask("GET", self._path(kind)))["metadata"]["resourceVersion"]
        while True:
            query = {"watch": "1", "resourceVersion": version}
            async with self.session.get(
                self.access.server + self._path(kind),
                params=query,
                ssl=self.access.tls,
                headers=self.access.headers,
                timeout=aiohttp.ClientTimeout(total=None),
            ) as answer:
                assert answer.status == 200, await answer.text()
                async for line in answer.content:
                    told = json.loads(line)
                    version = told["object"]["metadata"]["resourceVersion"]
                    await self._note(kind, told)

    async def _note(self, kind: str, told: Manifest) -> None:
        found = Version(kind, told["object"], gone=told["type"] == "DELETED")
        async with self.changed:
            self.versions.append(found)
            if found.gone:
                self.objects.pop((kind, found.name), None)
            else:
                self.objects[kind, found.name] = found.object
            self.changed.notify_all()


@asynccontextmanager
async def fresh_server(access: Access, namespace: str) -> AsyncIterator[Server]:
    """Make a namespace and watch it; it is deleted afterwards, with all that is in it."""
    # Objects of a test may be of any size, and so may the lines that tell of them.
    async with aiohttp.ClientSession(read_bufsize=1 << 22) as session:
        server = Server(session, access, namespace)
        await server._begin()
        watches = [asyncio.create_task(server._follow(kind)) for kind in COLLECTIONS]
        try:
            yield server
        finally:
            for watch in watches:
                watch.cancel()
            broken = await asyncio.gather(*watches, return_exceptions=True)
            await server._ask("DELETE", f"/api/v1/namespaces/{namespace}")
        for error in broken:
            # A watch that broke has seen less than happened: nothing then holds.
            assert isinstance(error, asyncio.CancelledError), error
