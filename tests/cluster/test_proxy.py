"""The proxy forwards all requests except those of a rule, and records them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from daskjob.kube.kubeconfig import Kubeconfig
from tests.cluster import proxy as faults
from tests.cluster.plugin import Kubernetes
from tests.cluster.proxy import FaultProxy, Request, answer, error_line

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}


@asynccontextmanager
async def proxied(kubernetes: Kubernetes) -> AsyncIterator[FaultProxy]:
    access = await Kubeconfig(str(kubernetes.kubeconfig)).access()
    async with FaultProxy(access) as proxy:
        yield proxy


async def kubectl(proxy: FaultProxy, folder: Path, kubernetes: Kubernetes, *arguments: str) -> str:
    """kubectl as it is used anywhere, only through the proxy."""
    kubeconfig = proxy.write_kubeconfig(folder / "kubeconfig")
    program = kubernetes.command()[0]
    process = await asyncio.create_subprocess_exec(
        program, f"--kubeconfig={kubeconfig}", *arguments, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_whoever_uses_the_kubeconfig_of_the_proxy_reaches_the_server(
    kubernetes: Kubernetes, namespace: str, tmp_path: Path
) -> None:
    async with proxied(kubernetes) as proxy:
        here = f"--namespace={namespace}"
        await kubectl(proxy, tmp_path, kubernetes, here, "create", "configmap", "one")
        listed = await kubectl(proxy, tmp_path, kubernetes, here, "get", "cm", "-o", "name")
        assert "configmap/one" in listed.split()
        (made,) = proxy.requests("create", "configmaps")
        assert (made.namespace, made.name, made.code, made.writes) == (namespace, "", 201, True)
        assert b"one" in made.body  # kubectl does not speak JSON.
        assert proxy.requests("list", "configmaps")[0].writes is False


Ask = Callable[..., Awaitable[int]]


@asynccontextmanager
async def asking(proxy: FaultProxy, namespace: str) -> AsyncIterator[Ask]:
    """Requests about config maps; 0 where the connection broke."""
    async with aiohttp.ClientSession() as session:

        async def ask(method: str, name: str = "", body: Any = None) -> int:
            path = f"/api/v1/namespaces/{namespace}/configmaps{'/' if name else ''}{name}"
            try:
                async with session.request(method, proxy.url + path, json=body) as answered:
                    await answered.read()
                    return answered.status
            except aiohttp.ClientError:
                return 0

        yield ask


async def test_a_rule_spoils_the_requests_it_is_for_and_counts_them(
    kubernetes: Kubernetes, namespace: str
) -> None:
    async with proxied(kubernetes) as proxy, asking(proxy, namespace) as ask:
        rule = proxy.on(answer(503), verb="get", skip=1, times=2)
        codes = [await ask("GET", "none") for _ in range(5)]
        assert codes == [404, 503, 503, 404, 404]
        assert rule.hits == 2
        endless = proxy.on(answer(500), when=lambda request: request.name == "b", times=None)
        assert [await ask("GET", name) for name in "aabb"] == [404, 404, 500, 500]
        endless.end()
        assert await ask("GET", "b") == 404
        assert [r.code for r in proxy.requests("get")][-5:] == [404, 404, 500, 500, 404]


async def test_a_request_is_lost_before_the_server_has_it_or_after(
    kubernetes: Kubernetes, namespace: str
) -> None:
    async with proxied(kubernetes) as proxy, asking(proxy, namespace) as ask:
        proxy.on(faults.reset(), verb="create")
        assert await ask("POST", body=CONFIG_MAP) == 0
        assert await ask("GET", "one") == 404
        proxy.on(faults.lose_answer(), verb="create")
        assert await ask("POST", body=CONFIG_MAP) == 0
        assert await ask("GET", "one") == 200
        assert [r.forwarded for r in proxy.requests("create")] == [False, True]


WRITER = """
import sys, urllib.request
for number in range(5):
    body = b'{"metadata":{"name":"c%d"}}' % number
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], body, headers)).read()
"""


@pytest.mark.parametrize(("when", "made"), [("before", 2), ("after", 3)])
async def test_a_client_is_killed_at_its_third_write_before_or_after_it_happened(
    when: str, made: int, kubernetes: Kubernetes, namespace: str
) -> None:
    async with proxied(kubernetes) as proxy, asking(proxy, namespace) as ask:
        url = f"{proxy.url}/api/v1/namespaces/{namespace}/configmaps"
        client = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, url)

        async def kill() -> None:
            os.kill(client.pid, signal.SIGKILL)
            await client.wait()

        fault = {"before": faults.before, "after": faults.after}[when](kill)
        proxy.on(fault, when=lambda request: request.writes, skip=2)
        assert await client.wait() == -signal.SIGKILL
        codes = [await ask("GET", f"c{number}") for number in range(5)]
        assert codes == [200] * made + [404] * (5 - made)
        assert len(proxy.requests("create")) == 3


async def test_an_open_watch_is_silenced_spoken_into_and_cut(
    kubernetes: Kubernetes, namespace: str
) -> None:
    async with proxied(kubernetes) as proxy, asking(proxy, namespace) as ask:
        path = f"/api/v1/namespaces/{namespace}/configmaps?watch=1&resourceVersion=0"
        async with aiohttp.ClientSession() as session, session.get(proxy.url + path) as watch:
            await ask("POST", body=CONFIG_MAP)
            names = []
            while "one" not in names:
                line = json.loads(await watch.content.readline())
                names.append(line["object"]["metadata"]["name"])
            (passage,) = proxy.watching
            assert passage.request.query["resourceVersion"] == "0"
            proxy.silence_watches("configmaps")
            await ask("DELETE", "one")
            await proxy.say_in_watches(error_line(410))
            line = json.loads(await watch.content.readline())
            assert (line["type"], line["object"]["code"]) == ("ERROR", 410)
            with pytest.raises(aiohttp.ClientPayloadError):
                await watch.content.readline()


async def test_a_proxy_that_is_away_is_refused_and_comes_back_at_its_port(
    kubernetes: Kubernetes, namespace: str
) -> None:
    async with proxied(kubernetes) as proxy, asking(proxy, namespace) as ask:
        async with proxy.away():
            assert await ask("GET", "one") == 0
        assert await ask("GET", "one") == 404


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/v1/pods", ("list", "pods", "", "", "")),
        ("GET", "/api/v1/pods?watch=true", ("watch", "pods", "", "", "")),
        ("GET", "/api/v1/namespaces/a/pods/b", ("get", "pods", "a", "b", "")),
        ("GET", "/api/v1/namespaces/a", ("get", "namespaces", "", "a", "")),
        ("DELETE", "/api/v1/namespaces/a/pods", ("deletecollection", "pods", "a", "", "")),
        ("PUT", "/apis/x.io/v1/namespaces/a/jobs/b", ("update", "jobs", "a", "b", "")),
        (
            "PATCH",
            "/apis/x.io/v1/namespaces/a/jobs/b/status",
            ("patch", "jobs", "a", "b", "status"),
        ),
    ],
)
def test_a_request_is_read_as_the_server_reads_it(
    method: str, path: str, expected: tuple[str, ...], kubernetes: Kubernetes
) -> None:
    async def story() -> Request:
        async with proxied(kubernetes) as proxy, aiohttp.ClientSession() as session:
            proxy.on(answer(418), times=None)
            async with session.request(method, proxy.url + path) as answered:
                assert answered.status == 418
            return proxy.seen[0]

    found = asyncio.run(story())
    assert (found.verb, found.resource, found.namespace, found.name, found.subresource) == expected
