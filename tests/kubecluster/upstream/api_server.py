"""An API server of Kubernetes in memory, as far as the client of dask-kubernetes asks it.

It keeps what is created, and does what an operator would do for a DaskCluster: there are a pod and
a Service of the scheduler, whose ports are those of a scheduler on this machine.
"""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web
from distributed import Scheduler

Manifest = dict[str, Any]

READY = {
    "phase": "Running",
    "conditions": [
        {"type": "Ready", "status": "True"},
        {"type": "ContainersReady", "status": "True"},
    ],
}
#: A crash between two starts of the container, as the kubelet reports it.
CRASHING = {
    "phase": "Running",
    "conditions": [{"type": "Ready", "status": "False"}],
    "containerStatuses": [
        {"name": "scheduler", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    ],
}
WITHOUT_IMAGE = {
    "phase": "Pending",
    "containerStatuses": [
        {"name": "scheduler", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
    ],
}
DASK, GATEWAY = "kubernetes.dask.org/v1", "gateway.dask.org/v1alpha1"
_KINDS = {
    "v1": ("Pod", "Service", "Node"),
    DASK: ("DaskCluster", "DaskWorkerGroup", "DaskAutoscaler"),
    GATEWAY: ("DaskCluster",),
}


@dataclass
class Scene:
    """What the operator makes of the clusters of a namespace."""

    service: str = "LoadBalancer"
    pod: Manifest = field(default_factory=lambda: READY)
    has_group: bool = True


@dataclass
class ApiServer:
    """What is there, and what was asked."""

    port: int = 0
    #: Where the scheduler of all clusters listens.
    scheduler_port: int = 0
    groups: list[str] = field(default_factory=lambda: [DASK])
    scenes: dict[str, Scene] = field(default_factory=dict)
    objects: dict[str, Manifest] = field(default_factory=dict)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    #: Forwarded connections, by the path of the pod.
    forwards: dict[str, list[asyncio.Task[None]]] = field(default_factory=lambda: defaultdict(list))
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def named(self, kind: str, namespace: str) -> list[Manifest]:
        """Return the objects of this kind in a namespace."""
        return [
            found for path, found in sorted(self.objects.items()) if f"/{namespace}/{kind}/" in path
        ]

    def asked(self, method: str, part: str) -> list[Any]:
        """Return the bodies of the requests for paths that contain this."""
        return [body for verb, path, body in self.requests if verb == method and part in path]

    def put(self, namespace: str, kind: str, manifest: Manifest, version: str = "") -> None:
        """Add an object."""
        base = f"/apis/{version or DASK}" if kind.startswith("dask") else "/api/v1"
        manifest = copy.deepcopy(manifest)
        manifest["metadata"]["namespace"] = namespace
        self.objects[f"{base}/namespaces/{namespace}/{kind}/{manifest['metadata']['name']}"] = (
            manifest
        )

    def operate(self, namespace: str, cluster: Manifest) -> None:
        """Do what the operator does for a new cluster."""
        scene, name = self.scenes.get(namespace, Scene()), cluster["metadata"]["name"]
        labels = {"dask.org/cluster-name": name, "dask.org/component": "scheduler"}
        cluster["status"] = {"phase": "Running"}
        pod = {"metadata": {"name": f"{name}-scheduler-1", "labels": labels}, "status": scene.pod}
        self.put(namespace, "pods", pod)
        names = ("tcp-comm", "http-dashboard")
        ports = [{"name": n, "port": self.scheduler_port, "nodePort": 30000} for n in names]
        service: Manifest = {
            "metadata": {"name": f"{name}-scheduler", "labels": labels},
            "spec": {"type": scene.service, "selector": labels, "ports": ports},
            "status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}},
        }
        service["spec"]["clusterIP"] = "127.0.0.1"
        self.put(namespace, "services", service)
        if scene.has_group:
            worker = copy.deepcopy(cluster["spec"]["worker"])
            group = {"metadata": {"name": f"{name}-default"}, "spec": {"worker": worker}}
            self.put(namespace, "daskworkergroups", group)

    def replace_pod(self, namespace: str) -> None:
        """Replace the scheduler's pod by a new one; the connections to the old one end."""
        [old] = self.named("pods", namespace)
        name = old["metadata"]["name"]
        [path] = [path for path in self.objects if path.endswith(f"/{namespace}/pods/{name}")]
        del self.objects[path]
        new = copy.deepcopy(old)
        new["metadata"]["name"] = f"{name}-new"
        self.put(namespace, "pods", new)
        for one in self.forwards[path]:
            self.loop.call_soon_threadsafe(one.cancel)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any request."""
        path, body = request.path.rstrip("/"), await request.text()
        self.requests.append((request.method, path, json.loads(body) if body else None))
        if path.endswith("/nodes"):
            return _error(403, 'nodes is forbidden: cannot list resource "nodes"')
        if path.endswith("/portforward"):
            return await self._forward(request)
        if path.endswith("/log"):
            return web.Response(text=f"log of {path.split('/')[-2]}")
        if (found := self._discovered(path)) is not None:
            return web.json_response(found)
        change = getattr(self, f"_{request.method.lower()}")
        answered: web.StreamResponse = change(path, request)
        return answered

    def _discovered(self, path: str) -> Manifest | None:
        if path == "/version":
            return {"gitVersion": "v1.34.0"}
        if path == "/api":
            return {"versions": ["v1"]}
        if path == "/apis":
            groups = [
                {"name": g.split("/")[0], "versions": [{"groupVersion": g}]} for g in self.groups
            ]
            return {"groups": groups}
        version = path.removeprefix("/apis/").removeprefix("/api/")
        if version not in _KINDS:
            return None
        kinds = [
            {
                "kind": k,
                "name": f"{k.lower()}s",
                "singularName": k.lower(),
                "namespaced": k != "Node",
            }
            for k in _KINDS[version]
        ]
        return {"groupVersion": version, "resources": kinds}

    def _get(self, path: str, request: web.Request) -> web.Response:
        if path in self.objects:
            return web.json_response(self.objects[path])
        is_list = path.count("/") - 2 * ("/namespaces/" in path) == (4 if "/apis/" in path else 3)
        if not is_list:
            return _error(404, f"{path} not found")
        base, kind = path.split("/namespaces/")[0], path.rsplit("/", 1)[1]
        within = path if "/namespaces/" in path else base.removesuffix(f"/{kind}")
        items = [
            found
            for place, found in sorted(self.objects.items())
            if place.startswith(within) and f"/{kind}/" in place and _is_selected(found, request)
        ]
        return web.json_response({"items": items, "metadata": {}})

    def _post(self, path: str, _: web.Request) -> web.Response:
        manifest = copy.deepcopy(self.requests[-1][2])
        namespace, kind = path.split("/")[-2:]
        if kind == "daskautoscalers":
            # The CRD requires both; a null is what Kubernetes takes for absent.
            for name in ("minimum", "maximum"):
                if manifest["spec"].get(name) is None:
                    return _error(422, f"spec.{name}: Required value")
        if kind == "daskclusters":
            self.operate(namespace, manifest)
        self.put(namespace, kind, manifest)
        return web.json_response(self.objects[f"{path}/{manifest['metadata']['name']}"])

    def _patch(self, path: str, _: web.Request) -> web.Response:
        if path not in self.objects:
            return _error(404, f"{path} not found")
        _merge(self.objects[path], self.requests[-1][2])
        return web.json_response(self.objects[path])

    def _delete(self, path: str, _: web.Request) -> web.Response:
        if self.objects.pop(path, None) is None:
            return _error(404, f"{path} not found")
        return web.json_response({"status": "Success"})

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        """Connect a websocket with the scheduler's port."""
        if (path := request.path.removesuffix("/portforward")) not in self.objects:
            return _error(404, f"{path} not found")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.scheduler_port)
        # Each channel begins with the port.
        for channel in (b"\0", b"\1"):
            await socket.send_bytes(channel + self.scheduler_port.to_bytes(2, "little"))

        async def back() -> None:
            try:
                while data := await reader.read(65536):
                    await socket.send_bytes(b"\0" + data)
            finally:
                await socket.close()

        returning = asyncio.ensure_future(back())
        self.forwards[path].append(returning)
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                writer.write(message.data[1:])
        returning.cancel()
        writer.close()
        return socket


def _error(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "message": message}, status=code)


def _is_selected(found: Manifest, request: web.Request) -> bool:
    labels = found["metadata"].get("labels", {})
    for term in filter(None, request.query.get("labelSelector", "").split(",")):
        name, _, value = term.partition("=")
        if labels.get(name) != value:
            return False
    for term in filter(None, request.query.get("fieldSelector", "").split(",")):
        names, _, value = term.partition("=")
        here: Any = found
        for name in names.split("."):
            here = here.get(name, {})
        if here != value:
            return False
    return True


def _merge(into: Manifest, change: Manifest) -> None:
    for name, value in change.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


@contextmanager
def serving() -> Iterator[ApiServer]:
    """Serve, with a scheduler of Dask, in a thread of its own: clients may block their loops."""
    server, ready = ApiServer(), threading.Event()
    over = asyncio.Event()

    async def serve() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", server.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
            server.port, server.scheduler_port = runner.addresses[0][1], scheduler.port
            ready.set()
            await over.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: server.loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(60)
    yield server
    server.loop.call_soon_threadsafe(over.set)
    thread.join(30)
