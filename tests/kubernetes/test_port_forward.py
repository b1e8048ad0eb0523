"""Port-forwards to real pods: many connections, large ones, cut ones, and replaced pods."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from daskjob.core.errors import Forbidden, NotFound, Timeout
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.kube.api import Api
from daskjob.kube.followed_pod import Backend, backend_of
from daskjob.kube.kubeconfig import Kubeconfig
from daskjob.kube.objects import Pace
from daskjob.kube.port_forward import Limits, PortForward, PortTaken, forwarding
from tests.cluster.plugin import Kubernetes
from tests.cluster.proxy import FaultProxy, answer
from tests.cluster.relay import Relay, relay_to
from tests.kubernetes.given import Plain
from tests.waiting import until

MIB = 1024 * 1024
#: As the real ones, but faster.
QUICK = Limits(opening=20.0, shortest=0.02, longest=0.2, half_closed=1.0)
PACE = Pace(idle=5.0, duration=60.0, shortest=0.02, longest=0.2, sound=5.0)
BLOCK = random.Random(0).randbytes(MIB)
#: Serves a command in the first line of each connection.
SERVER = """
import hashlib, os, random, socket, socketserver, struct, time
BLOCK = random.Random(0).randbytes(1024 * 1024)

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        command, number = (self.rfile.readline().decode().split() + ["0"])[:2]
        number = int(number)
        if command == "name":
            self.wfile.write(os.environ["HOSTNAME"].encode())
        elif command == "echo":
            while data := self.rfile.read1(65536):
                self.wfile.write(data)
        elif command == "take":
            digest = hashlib.sha256()
            while number:
                data = self.rfile.read(min(number, 65536))
                digest.update(data)
                number -= len(data)
            self.wfile.write(digest.hexdigest().encode())
        elif command == "give":
            for _ in range(number):
                self.wfile.write(BLOCK)
        elif command == "drip":
            for _ in range(number):
                time.sleep(0.25)
                self.wfile.write(b"x")
        elif command == "ignore":
            time.sleep(number)
        elif command == "fail":
            self.wfile.write(b"half")
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 200

Server(("", 9000), Handler).serve_forever()
"""


def server_pod(image: str, name: str, app: str = "server", waits: int = 0) -> Manifest:
    main = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", f"import time; time.sleep({waits})\n{SERVER}"],
        "ports": [{"name": "bytes", "containerPort": 9000}],
        "readinessProbe": {"tcpSocket": {"port": 9000}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [main]},
    }


@dataclass
class Given:
    """A client behind a relay, and the administrator's requests past it."""

    api: Api
    admin: Api
    relay: Relay
    namespace: str
    image: str
    messages: list[str] = field(default_factory=list)

    async def create(self, manifest: Manifest) -> None:
        named = {**manifest["metadata"], "namespace": self.namespace}
        await self.admin.create({**manifest, "metadata": named})

    async def delete(self, pod: str) -> None:
        await self.admin.delete(ObjectRef("Pod", self.namespace, pod), grace_seconds=0)

    def backend(self, port: int | str = "bytes", app: str = "server") -> Backend:
        return Backend(self.namespace, f"app={app}", port, f"app {app}")

    @asynccontextmanager
    async def forward(
        self, backend: Backend | None = None, limits: Limits = QUICK
    ) -> AsyncIterator[PortForward]:
        """Open a forward; afterwards none of its tasks and connections may be left."""
        async with forwarding(
            self.api,
            backend or self.backend(),
            notify=self.messages.append,
            limits=limits,
            pace=PACE,
        ) as forward:
            await forward.ready(60)
            yield forward
        await until(lambda: not tasks_of_daskjob(), 5, lambda: str(tasks_of_daskjob()))
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", forward.port)


def tasks_of_daskjob() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if "daskjob/kube" in repr(task.get_coro())]


@asynccontextmanager
async def given_in(kubernetes: Kubernetes, namespace: str) -> AsyncIterator[Given]:
    direct = await Kubeconfig(str(kubernetes.kubeconfig)).access()
    async with (
        relay_to(direct) as relay,
        Api(Plain(relay.access)) as api,
        Api(Plain(direct)) as admin,
    ):
        yield Given(api, admin, relay, namespace, kubernetes.image("dask"))


@pytest.fixture(scope="module")
def server(kubernetes: Kubernetes, fresh: Callable[[], str]) -> str:
    """A namespace with a pod that serves."""
    namespace = fresh()

    async def start() -> None:
        async with given_in(kubernetes, namespace) as given:
            await given.create(server_pod(given.image, "server-0"))

    asyncio.run(start())
    return namespace


@pytest.fixture
def there(kubernetes: Kubernetes, server: str) -> object:
    """The pod's client, open while an async test runs."""
    return given_in(kubernetes, server)


@pytest.fixture
def elsewhere(kubernetes: Kubernetes, fresh: Callable[[], str]) -> object:
    """A client of an empty namespace."""
    return given_in(kubernetes, fresh())


async def ask(forward: PortForward, command: str, data: bytes = b"") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
    try:
        writer.write(command.encode() + b"\n" + data)
        await writer.drain()
        return await reader.read()
    finally:
        writer.close()


async def fill(writer: asyncio.StreamWriter) -> None:
    """Send 400 MiB, and raise ``TimeoutError`` if that is not possible."""
    for _ in range(400):
        writer.write(BLOCK)
        async with asyncio.timeout(2):
            await writer.drain()


async def drained(reader: asyncio.StreamReader) -> None:
    while await reader.read(MIB):
        pass


async def test_many_connections_at_once(there: Given) -> None:
    async with there.forward() as forward:
        assert await ask(forward, "name") == b"server-0"

        async def echo(number: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
            writer.write(b"echo\n")
            for turn in range(3):
                text = f"{number} {turn}".encode() * 50
                writer.write(text)
                assert await reader.readexactly(len(text)) == text
            writer.close()

        # A connection whose reader is slow does not block the others.
        stuck = await asyncio.open_connection("127.0.0.1", forward.port)
        stuck[1].write(b"give 500\n")
        await asyncio.gather(*(echo(number) for number in range(40)))
        assert forward.connections >= 1
        stuck[1].transport.abort()
    assert there.messages == []


async def test_200_mib_each_way_arrive_complete_in_little_memory(there: Given) -> None:
    expected = hashlib.sha256()
    for _ in range(200):
        expected.update(BLOCK)
    async with there.forward() as forward:

        async def upload() -> str:
            reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
            writer.write(f"take {200 * MIB}\n".encode())
            for _ in range(200):
                writer.write(BLOCK)
                await writer.drain()
            digest = await reader.read()
            writer.close()
            return digest.decode()

        async def download() -> str:
            reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
            writer.write(b"give 200\n")
            digest = hashlib.sha256()
            while data := await reader.read(MIB):
                digest.update(data)
            writer.close()
            return digest.hexdigest()

        found = await asyncio.gather(upload(), download())
        assert list(found) == [expected.hexdigest()] * 2


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_slow_end_stops_the_other_instead_of_filling_memory(
    there: Given, direction: str
) -> None:
    async with there.forward() as forward:
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.port, limit=1024)
        tracemalloc.start()
        try:
            if direction == "up":
                writer.write(b"ignore 30\n")
                with pytest.raises(TimeoutError):
                    await fill(writer)
            else:
                writer.write(b"give 400\n")
                await reader.readexactly(10)
                await asyncio.sleep(2)
            assert tracemalloc.get_traced_memory()[1] < 30 * MIB
        finally:
            tracemalloc.stop()
            writer.transport.abort()


async def test_half_closed_connection_gets_the_rest(there: Given) -> None:
    async with there.forward() as forward:
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
        # Longer than the silence after which it would end.
        writer.write(b"drip 8\n")
        writer.write_eof()
        assert await reader.read() == b"x" * 8
        writer.close()
        # One that the pod does not end is ended.
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
        writer.write(b"echo\nall")
        writer.write_eof()
        assert await reader.read() == b"all"
        writer.close()
        await until(lambda: not forward.connections)


async def test_cut_connection_is_reset_and_the_port_stays(there: Given) -> None:
    async with there.forward() as forward:
        port = forward.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"give 500\n")
        await reader.readexactly(MIB)
        await there.relay.cut()
        with pytest.raises(ConnectionError):
            await drained(reader)
        writer.close()
        assert await ask(forward, "name") == b"server-0"

        # A pod's own reset is one here, and its end an end.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"fail\n")
        with pytest.raises(ConnectionError):
            await drained(reader)
        writer.close()

        async with there.relay.away():
            waiting = [asyncio.create_task(ask(forward, "name")) for _ in range(3)]
            await until(lambda: there.messages)
            assert not any(task.done() for task in waiting)
        assert await asyncio.gather(*waiting) == [b"server-0"] * 3
        assert forward.port == port
    assert len(there.messages) == 2, there.messages
    assert "cannot be reached: " in there.messages[0]
    assert there.messages[1] == "app server can be reached again"


async def test_replaced_pod_is_followed_by_a_watch(elsewhere: Given) -> None:
    given = elsewhere
    await given.create(server_pod(given.image, "first"))
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": "bytes"}]},
    }
    await given.create(service)
    ref = ObjectRef("Service", given.namespace, "server")
    with pytest.raises(NotFound, match="has no port http; it has: 80"):
        await backend_of(given.api, ref, "http")
    async with given.forward(await backend_of(given.api, ref, "bytes", 80)) as forward:
        assert await ask(forward, "name") == b"first"
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
        writer.write(b"echo\nx")
        assert await reader.readexactly(1) == b"x"
        await given.delete("first")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        waiting = asyncio.create_task(ask(forward, "name"))
        await given.create(server_pod(given.image, "second", waits=2))
        assert await waiting == b"second"
        # It runs for two seconds before it listens: the connection waits, and loses nothing.
        assert "connection refused" in " ".join(given.messages)
        # A third one that is not ready does not take over.
        await given.create(server_pod("nowhere.invalid/none", "third"))
        assert await ask(forward, "name") == b"second"
    assert f"127.0.0.1:{forward.port} leads to second now, which replaced first" in given.messages


async def test_silent_server_is_noticed(there: Given) -> None:
    limits = Limits(opening=5.0, shortest=0.02, longest=0.2, answer=0.4)
    async with there.forward(limits=limits) as forward:
        reader, writer = await asyncio.open_connection("127.0.0.1", forward.port)
        writer.write(b"echo\nx")
        assert await reader.readexactly(1) == b"x"
        # Answered pings keep it.
        await asyncio.sleep(1.2)
        writer.write(b"y")
        assert await reader.readexactly(1) == b"y"
        await asyncio.sleep(0.5)
        there.relay.freeze()
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        writer.close()


async def test_errors_are_one_clear_message(
    there: Given,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} of 127.0.0.1 is in use"):
            async with forwarding(there.api, there.backend(), port=port):
                pass
        async with forwarding(there.api, there.backend(), preferred_port=port) as forward:
            assert forward.port != port
    with pytest.raises(PortTaken, match=r"192\.0\.2\.1 is not an address of this machine"):
        async with forwarding(there.api, there.backend(), address="192.0.2.1"):
            pass
    for backend, reason in (
        (there.backend(app="none"), "no pod has the labels app=none"),
        (there.backend("other"), "no container of .*server-0 has a port other"),
        (there.backend(9001), "port 9001 of .*server-0: .*connection refused"),
    ):
        async with forwarding(there.api, backend, limits=QUICK, pace=PACE) as forward:
            with pytest.raises(Timeout, match=reason):
                await forward.ready(1.5)


@pytest.mark.parametrize("verb", ["get", "create", "list"])
async def test_missing_permission_names_the_rule_at_once(there: Given, verb: str) -> None:
    resource = "pods" if verb == "list" else "pods/portforward"
    direct = there.relay._upstream
    message = (
        f'{resource} "x" is forbidden: User "ada" cannot {verb} resource "{resource}" in API '
        f'group "" in the namespace "{there.namespace}"'
    )
    rule = "verbs: [list]" if verb == "list" else "verbs: [get, create]"
    async with FaultProxy(direct) as proxy, Api(Plain(type(direct)(proxy.url))) as api:
        denied = answer(403, message, "Forbidden")
        if verb == "create":
            # Since Kubernetes 1.35: of a websocket only.
            proxy.on(denied, when=lambda request: "Upgrade" in request.headers, times=None)
            proxy.on(answer(400, "Upgrade request required", "BadRequest"), verb="get", times=None)
        else:
            proxy.on(denied, verb=verb, resource="pods", times=None)
        async with forwarding(api, there.backend(), limits=QUICK, pace=PACE) as forward:
            with pytest.raises(Forbidden) as caught:
                await forward.ready(30)
    assert f"resources: [{resource}], {rule}" in str(caught.value)
