"""The history of a namespace's objects, version by version, from watches of the API server."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from daskjob.kube.access import Access
from daskjob.kube.connector import Connector
from daskjob.kube.decoding import flattened

Manifest = dict[str, Any]

DASK = "/apis/kubernetes.dask.org/v1"
#: The resources of a job's objects, by kind.
COLLECTIONS = {
    "DaskJob": (DASK, "daskjobs"),
    "DaskCluster": (DASK, "daskclusters"),
    "DaskWorkerGroup": (DASK, "daskworkergroups"),
    "Pod": ("/api/v1", "pods"),
    "Service": ("/api/v1", "services"),
}
#: Resources of other objects that a test may create; these are not watched.
_OTHERS = {
    "ConfigMap": ("/api/v1", "configmaps"),
    "DaskAutoscaler": (DASK, "daskautoscalers"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "ResourceQuota": ("/api/v1", "resourcequotas"),
}
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


class NotThere(Exception):
    """The requested object does not exist."""


@dataclass(frozen=True)
class Version:
    """One version of an object; the last one if it was deleted."""

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
    """A namespace of a real API server: the actions of a user, and all events."""

    session: aiohttp.ClientSession
    access: Access
    namespace: str
    versions: list[Version] = field(default_factory=list)
    #: Objects that exist, by kind and name.
    objects: dict[tuple[str, str], Manifest] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def create(self, kind: str, manifest: Manifest | str) -> Manifest:
        """Create an object; as text if Python cannot serialize it."""
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        # As a file, since aiohttp warns about large bodies of other types.
        body, json_text = io.BytesIO(text.encode()), {"Content-Type": "application/json"}
        return await self.ask("POST", self._path(kind), data=body, headers=json_text)

    async def patch(self, kind: str, name: str, patch: Manifest) -> Manifest:
        """Merge a patch into an object."""
        path = f"{self._path(kind)}/{name}"
        return await self.ask("PATCH", path, data=json.dumps(patch), headers=MERGE_PATCH)

    async def delete(self, kind: str, name: str) -> None:
        """Delete an object, without waiting until it is gone."""
        await self.ask("DELETE", f"{self._path(kind)}/{name}")

    async def get(self, manifest: Manifest) -> Manifest:
        """Return the current version of an object."""
        name = manifest["metadata"]["name"]
        return await self.ask("GET", f"{self._path(manifest['kind'])}/{name}")

    async def remove_namespace(self) -> None:
        """Delete the namespace and everything in it, if it still exists."""
        with suppress(NotThere):
            await self.ask("DELETE", f"/api/v1/namespaces/{self.namespace}")

    async def until(self, true: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until a condition is true, which is checked whenever an object changes.

        Raises
        ------
        TimeoutError
            It did not become true in time.
        """
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(lambda: bool(true()))

    def _path(self, kind: str) -> str:
        group, plural = {**COLLECTIONS, **_OTHERS}[kind]
        return f"{group}/namespaces/{self.namespace}/{plural}"

    async def ask(self, method: str, path: str, **more: Any) -> Manifest:
        """Make any other request: a path, and the arguments of aiohttp's requests."""
        headers = {**self.access.headers, **more.pop("headers", {})}
        url = self.access.server + path
        async with self.session.request(
            method, url, ssl=self.access.tls, headers=headers, **more
        ) as answer:
            found: Manifest = _read(await answer.read())
            if answer.status == 404:
                raise NotThere(f"{method} {path}")
            assert answer.status < 300, f"{method} {path}: {found}"
            return found

    async def _begin(self) -> None:
        space = {"metadata": {"name": self.namespace}}
        await self.ask("POST", "/api/v1/namespaces", json=space)
        account = f"/api/v1/namespaces/{self.namespace}/serviceaccounts"
        # Pods are rejected until the namespace has its service account.
        async with asyncio.timeout(30):
            while not (await self.ask("GET", account))["items"]:
                await asyncio.sleep(0.05)

    async def _follow(self, kind: str) -> None:
        version = (await self.ask("GET", self._path(kind)))["metadata"]["resourceVersion"]
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
                    event = _read(line)
                    version = event["object"]["metadata"]["resourceVersion"]
                    await self._note(kind, event)

    async def _note(self, kind: str, event: Manifest) -> None:
        found = Version(kind, event["object"], gone=event["type"] == "DELETED")
        async with self.changed:
            self.versions.append(found)
            if found.gone:
                self.objects.pop((kind, found.name), None)
            else:
                self.objects[kind, found.name] = found.object
            self.changed.notify_all()


def _read(text: bytes) -> Manifest:
    """Return a document; without its deep parts if it is nested too deeply for Python."""
    found: Manifest
    try:
        found = json.loads(text)
    except RecursionError:
        found = json.loads(flattened(text))
    return found


@asynccontextmanager
async def fresh_server(access: Access, namespace: str) -> AsyncIterator[Server]:
    """Create a namespace and watch it; it is deleted afterwards with everything in it."""
    async with _server(access, namespace) as server:
        await server._begin()
        try:
            async with _watching(server):
                yield server
        finally:
            await server.remove_namespace()


@asynccontextmanager
async def watched_server(access: Access, namespace: str) -> AsyncIterator[Server]:
    """Watch a namespace that exists, and leave it."""
    async with _server(access, namespace) as server, _watching(server):
        yield server


@asynccontextmanager
async def _server(access: Access, namespace: str) -> AsyncIterator[Server]:
    # Objects of a test may be of any size, and so may lines of a watch.
    async with aiohttp.ClientSession(connector=Connector(), read_bufsize=1 << 22) as session:
        yield Server(session, access, namespace)


@asynccontextmanager
async def _watching(server: Server) -> AsyncIterator[None]:
    watches = [asyncio.create_task(server._follow(kind)) for kind in COLLECTIONS]
    try:
        yield
    finally:
        for watch in watches:
            watch.cancel()
        broken = await asyncio.gather(*watches, return_exceptions=True)
    for error in broken:
        # A broken watch has missed events, so no assertion would be valid.
        assert isinstance(error, asyncio.CancelledError), error
