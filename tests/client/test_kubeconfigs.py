"""Every kind of kubeconfig at a real API server, by both ways to it.

The first request of a blocking client has an HTTP client of its own; every other request is sent by
``Api``.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from daskjob.core.errors import ApiError, DaskJobError, Forbidden, NotFound
from daskjob.core.manifests import ObjectRef
from daskjob.kube.access import NoCredentials
from daskjob.kube.api import Api
from daskjob.kube.errors import Unauthorized
from daskjob.kube.kubeconfig import Kubeconfig
from daskjob.submit.client import first_request
from daskjob.submit.client.sync_client import JobClient
from daskjob.submit.submission import Step, submission
from tests.client.given import job
from tests.cluster.plugin import Kubernetes
from tests.kubernetes.kubeconfigs import expired_token, kubeconfig, plugin, printing, web_token


@dataclass(frozen=True)
class Real:
    """The parts of working kubeconfigs: an administrator's certificate, a robot's token."""

    folder: Path
    namespace: str
    server: str
    authority: str
    certificate: str
    key: str
    token: str

    @property
    def user(self) -> dict[str, Any]:
        return {
            "client-certificate-data": data(self.certificate),
            "client-key-data": data(self.key),
        }

    @property
    def cluster(self) -> dict[str, Any]:
        return {"server": self.server, "certificate-authority-data": data(self.authority)}

    def kubeconfig(
        self, user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None
    ) -> str:
        return kubeconfig(self.folder, user or self.user, cluster or self.cluster)


#: Makes a stanza of a kubeconfig from parts that work.
Part = Callable[[Real], dict[str, Any]]


def data(pem: str) -> str:
    return base64.b64encode(pem.encode()).decode()


@pytest.fixture
def real(with_crds: Kubernetes, namespace: str, tmp_path: Path) -> Real:
    config = yaml.safe_load(with_crds.kubectl("config", "view", "--raw", "--flatten"))
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    with_crds.kubectl(f"--namespace={namespace}", "create", "serviceaccount", "robot")
    return Real(
        folder=tmp_path,
        namespace=namespace,
        server=cluster["server"],
        authority=pem(cluster["certificate-authority-data"]),
        certificate=pem(user["client-certificate-data"]),
        key=pem(user["client-key-data"]),
        token=with_crds.kubectl(f"--namespace={namespace}", "create", "token", "robot").strip(),
    )


def pem(data: str) -> str:
    return base64.b64decode(data).decode()


async def errors_of(real: Real, path: str) -> list[DaskJobError]:
    """Return the error of each way; ``NotFound`` is that of an accepted administrator."""
    found = []
    async with Api(Kubeconfig(path), budget_seconds=1.0) as api:
        with pytest.raises(DaskJobError) as caught:
            await api.get(ObjectRef("Pod", real.namespace, "any"))
        found.append(caught.value)

    def first() -> None:
        with JobClient(real.namespace, kubeconfig=path) as client:
            client.submit(job())
            assert client._made == {}, "it was not the first request"
            raise NotFound("none")

    with pytest.raises(DaskJobError) as caught:
        await asyncio.to_thread(first)
    found.append(caught.value)
    return found


def files(real: Real, where: Path) -> dict[str, Any]:
    """Write the administrator's certificate and key; return the fields of a user."""
    where.mkdir(exist_ok=True)
    (where / "me.crt").write_text(real.certificate)
    (where / "me.key").write_text(real.key)
    relative = where.relative_to(real.folder) if where.is_relative_to(real.folder) else where
    return {
        "client-certificate": str(relative / "me.crt"),
        "client-key": str(relative / "me.key"),
    }


#: Users that are the administrator.
CERTIFICATES: dict[str, Part] = {
    "data": lambda real: real.user,
    "files next to the kubeconfig": lambda real: files(real, real.folder),
    "files in a folder next to it": lambda real: files(real, real.folder / "keys"),
    "absolute files": lambda real: {
        name: str(real.folder / path) for name, path in files(real, real.folder).items()
    },
    "data before missing files": lambda real: {
        "client-certificate": "none",
        "client-key": "none",
        **real.user,
    },
}


@pytest.mark.parametrize("title", CERTIFICATES)
async def test_a_client_certificate_is_accepted(title: str, real: Real) -> None:
    path = real.kubeconfig(CERTIFICATES[title](real))
    assert [type(error) for error in await errors_of(real, path)] == [NotFound, NotFound]


def token_file(real: Real) -> dict[str, Any]:
    (real.folder / "token").write_text(f"{real.token}\n")
    return {"tokenFile": "token"}


#: Users that are the robot.
TOKENS: dict[str, Part] = {
    "a token": lambda real: {"token": real.token},
    "a file": token_file,
    "a file before a token": lambda real: {**token_file(real), "token": "wrong"},
    "an OpenID provider": lambda real: {
        "auth-provider": {"name": "oidc", "config": {"id-token": real.token}}
    },
}


@pytest.mark.parametrize("title", TOKENS)
async def test_a_token_is_accepted(title: str, real: Real) -> None:
    path = real.kubeconfig(TOKENS[title](real))
    for error in await errors_of(real, path):
        assert isinstance(error, Forbidden)
        assert f'User "system:serviceaccount:{real.namespace}:robot" cannot' in str(error)


PLUGINS: dict[str, tuple[Part, type[DaskJobError]]] = {
    "a token": (lambda real: {"token": real.token}, Forbidden),
    "a certificate": (
        lambda real: {"clientCertificateData": real.certificate, "clientKeyData": real.key},
        NotFound,
    ),
    "a token that expires": (
        lambda real: {"token": real.token, "expirationTimestamp": "2100-01-01T00:00:00Z"},
        Forbidden,
    ),
}


@pytest.mark.parametrize("title", PLUGINS)
async def test_the_credentials_of_a_plugin_are_accepted(title: str, real: Real) -> None:
    status, error = PLUGINS[title]
    path = real.kubeconfig(plugin(real.folder, printing(**status(real))))
    async with Api(Kubeconfig(path)) as api:
        with pytest.raises(error):
            await api.get(ObjectRef("Pod", real.namespace, "any"))
    with JobClient(real.namespace, kubeconfig=path) as client:
        try:
            await asyncio.to_thread(client.submit, job())
        except Forbidden:
            assert error is Forbidden


def authority_file(real: Real) -> dict[str, Any]:
    (real.folder / "ca.crt").write_text(f"# Ümlaute of a comment\n{real.authority}")
    return {"server": real.server, "certificate-authority": "ca.crt"}


#: Clusters whose server is trusted.
TRUSTED: dict[str, Part] = {
    "data": lambda real: real.cluster,
    "a file": authority_file,
    "no verification": lambda real: {"server": real.server, "insecure-skip-tls-verify": True},
    "another name": lambda real: {**real.cluster, "tls-server-name": "kubernetes.default.svc"},
    "a slash at the end": lambda real: {**real.cluster, "server": f"{real.server}/"},
}


@pytest.mark.parametrize("title", TRUSTED)
async def test_a_server_is_trusted(title: str, real: Real) -> None:
    path = real.kubeconfig(cluster=TRUSTED[title](real))
    assert [type(error) for error in await errors_of(real, path)] == [NotFound, NotFound]


#: Clusters whose server is not trusted.
DISTRUSTED: dict[str, Part] = {
    "the certificates of this machine": lambda real: {"server": real.server},
    "another authority": lambda real: {
        "server": real.server,
        "certificate-authority-data": data(real.certificate),
    },
    "a wrong name": lambda real: {**real.cluster, "tls-server-name": "elsewhere.example.com"},
}


@pytest.mark.parametrize("title", DISTRUSTED)
async def test_a_server_is_not_trusted(title: str, real: Real) -> None:
    path = real.kubeconfig(cluster=DISTRUSTED[title](real))
    async with Api(Kubeconfig(path), budget_seconds=0.5) as api:
        with pytest.raises(ApiError, match=r"(?i)certificate"):
            await api.get(ObjectRef("Pod", real.namespace, "any"))
    client = JobClient(real.namespace, kubeconfig=path)
    found = client._access()
    assert found is not None
    wanted = submission(job(), namespace=real.namespace)
    step = await asyncio.to_thread(first_request.create_at_once, found[0], wanted)
    assert step is Step.REPEAT


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (expired_token(), r"user 'u' in \S+: token: expired at 20\d\d-.* UTC; log in again"),
        (expired_token(1e6), r"token: expired at 20\d\d-.* UTC; log in again"),
        (web_token(), "Unauthorized"),
        ("wrong", "Unauthorized"),
    ],
    # A name with a token of its own time would differ between the processes that run the tests.
    ids=["expired", "expired long ago", "without an expiry", "no web token"],
)
async def test_a_rejected_token_is_reported_with_its_expiry(
    token: str, message: str, real: Real
) -> None:
    path = real.kubeconfig({"token": token})
    for error in await errors_of(real, path):
        assert isinstance(error, ApiError)
        with pytest.raises(ApiError, match=message):
            raise error
        assert token not in str(error)
        assert isinstance(error, NoCredentials) == ("expired" in message)
        # Only a person gets another one.
        assert isinstance(error, Unauthorized) == (message == "Unauthorized")
        assert error.retryable == ("expired" in message)


async def test_a_rejected_token_of_a_file_may_soon_be_another_one(real: Real) -> None:
    (real.folder / "token").write_text("wrong\n")
    for error in await errors_of(real, real.kubeconfig({"tokenFile": "token"})):
        assert "Unauthorized" in str(error)
        assert error.retryable


@asynccontextmanager
async def tunnel() -> AsyncIterator[tuple[str, list[str]]]:
    """Run an HTTP proxy; yields its URL, and the targets of its tunnels."""
    targets: list[str] = []
    tunnels: set[asyncio.Task[None]] = set()

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while chunk := await source.read(65536):
            target.write(chunk)
            await target.drain()
        target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tunnels.add(task)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        targets.append(head.split()[1])
        host, _, port = targets[-1].rpartition(":")
        theirs, ours = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(pump(reader, ours), pump(theirs, writer), return_exceptions=True)
        finally:
            for end in (ours, writer):
                end.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", targets
    await asyncio.gather(*tunnels)


@pytest.mark.parametrize("user", ["certificate", "token", "file"])
async def test_requests_go_through_the_proxy(user: str, real: Real) -> None:
    users = {"certificate": real.user, "token": {"token": real.token}, "file": token_file(real)}
    async with tunnel() as (url, targets):
        path = real.kubeconfig(users[user], {**real.cluster, "proxy-url": url})
        with JobClient(real.namespace, kubeconfig=path) as client:
            try:
                await asyncio.to_thread(client.submit, job())
            except Forbidden:
                assert user != "certificate"
            await asyncio.to_thread(client.close)
    assert set(targets) == {real.server.removeprefix("https://")}


def test_parts_in_several_files_are_one_kubeconfig(
    real: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    none: list[Any] = []
    parts: dict[str, dict[str, Any]] = {
        "clusters": {"users": none, "contexts": none},
        "users": {"clusters": none, "contexts": none},
        "contexts": {"clusters": none, "users": none},
    }
    paths = [
        kubeconfig(real.folder / name, real.user, real.cluster, **rest)
        for name, rest in parts.items()
    ]
    monkeypatch.setenv("KUBECONFIG", ":".join([*paths, str(real.folder / "none")]))
    with JobClient(real.namespace) as client:
        assert client.submit(job()).name == "sums"


LIGHT = """
import sys
from daskjob import JobClient
ref = JobClient(kubeconfig=sys.argv[1]).submit(%r)
loaded = {"aiohttp", "asyncio", "kr8s", "httpx", "msgspec", "distributed"} & set(sys.modules)
print(ref.namespace, ref.name, *sorted(loaded))
"""


@pytest.mark.parametrize("user", ["certificate", "files", "token"])
def test_a_submission_loads_no_other_http_client(
    user: str, real: Real, with_crds: Kubernetes
) -> None:
    with_crds.kubectl(
        f"--namespace={real.namespace}",
        *("create", "rolebinding", "robot", "--clusterrole=cluster-admin"),
        f"--serviceaccount={real.namespace}:robot",
    )
    users = {
        "certificate": real.user,
        "files": files(real, real.folder),
        "token": {"token": real.token},
    }
    context = {"cluster": "c", "user": "u", "namespace": real.namespace}
    path = kubeconfig(
        real.folder, users[user], real.cluster, contexts=[{"name": "one", "context": context}]
    )
    done = subprocess.run(
        [sys.executable, "-c", LIGHT % job(), path], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [real.namespace, "sums"]
