"""Clients with the credentials of other libraries' clients."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import kr8s.asyncio
import kubernetes as official
import kubernetes_asyncio
import pytest

from daskjob.core.errors import ApiError
from daskjob.kube.other_clients import ConfigurationCredentials, credentials_of
from daskjob.submit.client.async_client import AsyncJobClient
from daskjob.submit.client.sync_client import JobClient
from tests.client.given import job
from tests.cluster.plugin import Kubernetes


@asynccontextmanager
async def of_kr8s(path: str) -> AsyncIterator[Any]:
    api = await kr8s.asyncio.api(kubeconfig=path)
    yield api
    await _close(api)


async def _close(api: Any) -> None:
    """Close the connection on which kr8s asked for the server's version."""
    if api._session is not None:
        await api._session.aclose()


@asynccontextmanager
async def of_kubernetes(path: str) -> AsyncIterator[Any]:
    with official.config.new_client_from_config(path) as client:  # type: ignore[no-untyped-call]
        yield client


@asynccontextmanager
async def of_an_api_object(path: str) -> AsyncIterator[Any]:
    async with of_kubernetes(path) as client:
        yield official.client.CoreV1Api(client)


@asynccontextmanager
async def of_kubernetes_asyncio(path: str) -> AsyncIterator[Any]:
    async with await kubernetes_asyncio.config.new_client_from_config(path) as client:
        yield client


@pytest.mark.parametrize(
    "library", [of_kr8s, of_kubernetes, of_an_api_object, of_kubernetes_asyncio]
)
async def test_a_client_uses_the_credentials_of_another_librarys(
    library: Callable[[str], Any], with_crds: Kubernetes, namespace: str
) -> None:
    async with library(str(with_crds.kubeconfig)) as other:
        async with AsyncJobClient.from_client(other, namespace) as client:
            ref = await client.submit(job())
        with JobClient.from_client(other, namespace) as blocking:
            assert (await asyncio.to_thread(blocking.get, ref)).ref == ref


def plugin(folder: Path, tokens: list[str]) -> dict[str, Any]:
    """Return a kubeconfig whose plugin prints one token after the other."""
    state, program = folder / "calls", folder / "plugin.py"
    program.write_text(
        f"import json, pathlib\nstate = pathlib.Path({str(state)!r})\n"
        "calls = int(state.read_text()) if state.exists() else 0\n"
        "state.write_text(str(calls + 1))\n"
        f"token = {tokens!r}[min(calls, {len(tokens) - 1})]\n"
        'print(json.dumps({"kind": "ExecCredential", "apiVersion": '
        '"client.authentication.k8s.io/v1", "status": {"token": token}}))\n'
    )
    run = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": [str(program)],
        "interactiveMode": "Never",
    }
    return {"exec": run}


async def test_a_token_of_a_plugin_is_renewed_after_a_401(
    with_crds: Kubernetes, namespace: str, tmp_path: Path
) -> None:
    robot = f"--namespace={namespace}"
    with_crds.kubectl("create", "serviceaccount", "robot", robot)
    with_crds.kubectl(
        *("create", "rolebinding", "robot", "--clusterrole=cluster-admin", robot),
        f"--serviceaccount={namespace}:robot",
    )
    token = with_crds.kubectl("create", "token", "robot", robot).strip()
    config = json.loads(with_crds.kubectl("config", "view", "--raw", "--output=json"))
    config["users"][0]["user"] = plugin(tmp_path, ["expired", token])
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    other = await kr8s.asyncio.api(kubeconfig=str(path))
    async with AsyncJobClient.from_client(other, namespace) as client:
        assert await client.list() == ()
    await _close(other)


@pytest.mark.parametrize("other", [object(), "https://localhost", None])
def test_what_is_no_client_is_a_type_error(other: object) -> None:
    with pytest.raises(TypeError, match="no client of kr8s"):
        credentials_of(other)


async def test_a_refresh_hook_is_called_and_a_broken_one_is_our_error() -> None:
    configuration: Any = official.client.Configuration(host="https://127.0.0.1:1/")
    tokens = iter(["one", "two"])

    def refresh(found: Any) -> None:
        found.api_key["authorization"] = next(tokens)

    configuration.api_key["authorization"] = "old"
    configuration.api_key_prefix["authorization"] = "Bearer"
    configuration.refresh_api_key_hook = refresh
    credentials = ConfigurationCredentials(configuration)
    first = await credentials.access()
    assert first.server == "https://127.0.0.1:1"
    assert first.headers == {"Authorization": "Bearer one"}

    def breaks(_found: Any) -> None:
        raise OSError("the plugin is gone")

    configuration.refresh_api_key_hook = breaks
    assert await credentials.access() is first
    with pytest.raises(ApiError, match="the plugin is gone"):
        await credentials.renew(first)
