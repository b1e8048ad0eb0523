"""Credentials and the server's address: from a pod's files, a kubeconfig, or a plugin."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.writing.cached_api import CachedApi
from daskjob.core.errors import ApiError, Forbidden
from daskjob.core.manifests import ObjectRef
from daskjob.kube import credentials
from daskjob.kube.access import Access, NoCredentials
from daskjob.kube.api import Api
from daskjob.kube.credentials import ServiceAccount, find_credentials
from daskjob.kube.kubeconfig import Kubeconfig
from tests.kubernetes.given import Cluster, Kubectl, pod, run, seen

AUTHORITY = """\
-----BEGIN CERTIFICATE-----
MIIBczCCARmgAwIBAgIUGVRKszVpU7gPKNXS6h3Ij5tdH9cwCgYIKoZIzj0EAwIw
DjEMMAoGA1UEAwwDb25lMCAXDTI2MTEyNTE5NTY1MloYDzIxMjYxMTAxMTk1NjUy
WjAOMQwwCgYDVQQDDANvbmUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQjFuC4
3QQ3UGSTZoFMppaAsSyld1ZkWNpRwn91a6VzwjD/0/U8SETER4or1KyE7xFXZygJ
0AQ8LiOFGUT2bCy+o1MwUTAdBgNVHQ4EFgQUeK8CaiMwzGVYwWt4yG8vA7zltHQw
HwYDVR0jBBgwFoAUeK8CaiMwzGVYwWt4yG8vA7zltHQwDwYDVR0TAQH/BAUwAwEB
/zAKBggqhkjOPQQDAgNIADBFAiEAyXWKqfz7vxBDvGNNHVs0XfDWSoOTWUhxbIzw
fAYYvS0CIAgI3Lx0LHZYCiyEwHY5v0yd94d2i58QaLszeCK6GW/C
-----END CERTIFICATE-----
"""
ANOTHER = """\
-----BEGIN CERTIFICATE-----
MIIBdDCCARmgAwIBAgIUMe5Zb9OGs+OR6IQUPB6+68hQTBkwCgYIKoZIzj0EAwIw
DjEMMAoGA1UEAwwDdHdvMCAXDTI2MTEyNTE5NTY1MloYDzIxMjYxMTAxMTk1NjUy
WjAOMQwwCgYDVQQDDAN0d28wWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQjFuC4
3QQ3UGSTZoFMppaAsSyld1ZkWNpRwn91a6VzwjD/0/U8SETER4or1KyE7xFXZygJ
0AQ8LiOFGUT2bCy+o1MwUTAdBgNVHQ4EFgQUeK8CaiMwzGVYwWt4yG8vA7zltHQw
HwYDVR0jBBgwFoAUeK8CaiMwzGVYwWt4yG8vA7zltHQwDwYDVR0TAQH/BAUwAwEB
/zAKBggqhkjOPQQDAgNJADBGAiEAz0gqiOthTP7jslfrcFa0uxr1a/Nm1PSRJ59h
jI1HTG4CIQCnyqZHm0k5CqemrLhERM2mfTJX0T/37fmTxGpNxOvOYw==
-----END CERTIFICATE-----
"""
ENVIRONMENT = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A pod's service account."""
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "namespace").write_text("home\n")
    (tmp_path / "ca.crt").write_text(AUTHORITY)
    return tmp_path


def bearer(access: Access) -> str:
    return access.headers["Authorization"]


# A pod's files


def test_a_pods_credentials_come_from_its_files(folder: Path) -> None:
    found = ServiceAccount(folder, ENVIRONMENT)
    access = run(found.access())
    assert (access.server, bearer(access)) == ("https://10.96.0.1:443", "Bearer first")
    assert run(found.namespace()) == "home"


def test_an_ipv6_address_is_bracketed(folder: Path) -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    assert run(ServiceAccount(folder, environment).access()).server == "https://[fd00::1]:6443"


def test_the_token_is_reread_each_minute_and_not_sooner(folder: Path) -> None:
    clock = Clock()
    found = ServiceAccount(folder, ENVIRONMENT, clock)
    first = run(found.access())
    (folder / "token").write_text("second")
    clock.now = 59.0
    assert run(found.access()) is first
    clock.now = 60.0
    assert bearer(run(found.access())) == "Bearer second"


def test_a_new_authority_opens_new_connections_but_a_new_token_does_not(folder: Path) -> None:
    clock = Clock()
    found = ServiceAccount(folder, ENVIRONMENT, clock)
    first = run(found.access())
    clock.now = 60.0
    assert run(found.access()) is first
    (folder / "token").write_text("second")
    clock.now = 120.0
    assert run(found.access()).tls is first.tls
    (folder / "ca.crt").write_text(ANOTHER)
    clock.now = 180.0
    assert run(found.access()).tls is not first.tls


def test_a_rejected_token_is_reread_at_once(folder: Path) -> None:
    found = ServiceAccount(folder, ENVIRONMENT, Clock())
    first = run(found.access())
    (folder / "token").write_text("second")
    second = run(found.renew(first))
    assert bearer(second) == "Bearer second"
    (folder / "token").write_text("third")
    # A request rejected with the first one need not reread: there is a newer one.
    assert run(found.renew(first)) is second


def test_a_missing_file_of_a_pod_is_named(folder: Path) -> None:
    (folder / "token").unlink()
    with pytest.raises(NoCredentials, match="token"):
        run(ServiceAccount(folder, ENVIRONMENT).access())


# A kubeconfig


def written(folder: Path, user: dict[str, Any], **cluster: Any) -> str:
    """Write a kubeconfig; return its path."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [{"name": "c", "cluster": {"server": "https://one:6443/", **cluster}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u"}},
            {"name": "two", "context": {"cluster": "c", "user": "u", "namespace": "second"}},
        ],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_a_kubeconfig_provides_server_token_and_namespace(tmp_path: Path) -> None:
    data = base64.b64encode(AUTHORITY.encode()).decode()
    path = written(tmp_path, {"token": "abc"}, **{"certificate-authority-data": data})
    found = Kubeconfig(path)
    access = run(found.access())
    assert (access.server, bearer(access)) == ("https://one:6443", "Bearer abc")
    assert not isinstance(access.tls, bool)
    assert run(found.namespace()) == "default"


def test_the_requested_context_decides_the_namespace(tmp_path: Path) -> None:
    found = Kubeconfig(written(tmp_path, {"token": "abc"}), context="two")
    assert run(found.namespace()) == "second"


def test_a_token_file_is_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("filed\n")
    found = Kubeconfig(written(tmp_path, {"tokenFile": "token"}))
    assert bearer(run(found.access())) == "Bearer filed"


def test_tls_server_name_and_proxy_url_are_kept(tmp_path: Path) -> None:
    more = {"tls-server-name": "other", "proxy-url": "http://proxy:3128"}
    access = run(Kubeconfig(written(tmp_path, {"token": "abc"}, **more)).access())
    assert (access.server_name, access.proxy) == ("other", "http://proxy:3128")


@pytest.mark.parametrize("wrong", ["missing file", "missing context", "impersonation"])
def test_an_unusable_kubeconfig_is_named(wrong: str, tmp_path: Path) -> None:
    path = written(
        tmp_path, {"token": "abc", **({"as": "root"} if wrong == "impersonation" else {})}
    )
    found = Kubeconfig(
        path if wrong != "missing file" else str(tmp_path / "none"),
        context="third" if wrong == "missing context" else None,
    )
    with pytest.raises(NoCredentials, match=r"kubeconfig .* cannot be used"):
        run(found.access())


PLUGIN = """
import json, pathlib, sys
count = pathlib.Path(sys.argv[1])
number = int(count.read_text() or 0) + 1
count.write_text(str(number))
status = {"token": f"token-{number}"}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "status": status}))
"""


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    """Return a kubeconfig with a plugin that returns a new token each time."""
    (tmp_path / "plugin.py").write_text(PLUGIN)
    (tmp_path / "count").write_text("")
    command = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": [str(tmp_path / "plugin.py"), str(tmp_path / "count")],
    }
    return written(tmp_path, {"exec": command})


async def test_a_plugin_is_run_once_and_once_more_for_all_concurrent_rejections(
    plugin: str,
) -> None:
    clock = Clock()

    found = Kubeconfig(plugin, clock=clock)
    first, again = await asyncio.gather(found.access(), found.access())
    assert bearer(first) == bearer(again) == "Bearer token-1"
    clock.now = 5.0
    renewed = await asyncio.gather(*(found.renew(first) for _ in range(5)))
    assert {bearer(access) for access in renewed} == {"Bearer token-2"}


async def test_a_plugin_is_not_rerun_continuously_when_its_tokens_are_rejected(
    plugin: str,
) -> None:
    clock = Clock()

    found = Kubeconfig(plugin, clock=clock)
    access = await found.access()
    for _ in range(10):
        access = await found.renew(access)
    assert bearer(access) == "Bearer token-1"
    clock.now = 5.0
    assert bearer(await found.renew(access)) == "Bearer token-2"


def test_a_failed_plugin_is_a_transient_error(tmp_path: Path) -> None:
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": "false"}
    with pytest.raises(NoCredentials, match="exited with non-zero code 1"):
        run(Kubeconfig(written(tmp_path, {"exec": command})).access())


async def test_a_missing_kubeconfig_is_not_reported_as_a_missing_object(tmp_path: Path) -> None:
    cache = Cache()
    item = seen(pod("one", "default"), 7)
    cache.put(item)

    credentials = Kubeconfig(str(tmp_path / "none"))
    async with Api(credentials) as api:
        writes = CachedApi(api, cache)
        with pytest.raises(NoCredentials):
            await writes.delete(item.ref)
        with pytest.raises(NoCredentials):
            await writes.look(item.ref)
    assert cache.of_uid(item.ref.uid) == item


def test_keys_are_not_left_in_temporary_files(
    kubernetes: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    access = run(Kubeconfig(str(kubernetes.kubeconfig)).access())
    assert not isinstance(access.tls, bool)
    assert list(tmp_path.iterdir()) == []


# Precedence


def test_an_explicit_kubeconfig_takes_precedence_over_the_pods_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", folder)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert isinstance(find_credentials(), ServiceAccount)
    assert isinstance(find_credentials("some/file"), Kubeconfig)
    monkeypatch.setenv("KUBECONFIG", "some/file")
    assert isinstance(find_credentials(), Kubeconfig)
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setattr(credentials, "SERVICE_ACCOUNT", folder / "none")
    assert isinstance(find_credentials(), Kubeconfig)


LIGHT = """
import asyncio, pathlib, sys
import daskjob.backends.kubernetes.writing.cached_api, daskjob.backends.kubernetes.watching.informer
from daskjob.kube.credentials import ServiceAccount
asyncio.run(ServiceAccount(pathlib.Path(sys.argv[1])).access())
loaded = {"kr8s", "kopf", "distributed", "dask", "click", "httpx", "yaml"} & set(sys.modules)
assert not loaded, loaded
"""


def test_a_pod_needs_neither_kr8s_nor_distributed(folder: Path) -> None:
    subprocess.run([sys.executable, "-c", LIGHT, str(folder)], check=True)


# Against a real server


def server_of(kubernetes: Cluster) -> dict[str, str]:
    """Return the environment of a pod of this cluster, and its authority."""
    config = yaml.safe_load(kubernetes.kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    host, _, port = cluster["server"].removeprefix("https://").rpartition(":")
    return {
        "KUBERNETES_SERVICE_HOST": host,
        "KUBERNETES_SERVICE_PORT": port,
        "authority": _authority(cluster),
    }


def _authority(cluster: dict[str, str]) -> str:
    if "certificate-authority" in cluster:
        return Path(cluster["certificate-authority"]).read_text()
    return base64.b64decode(cluster["certificate-authority-data"]).decode()


async def test_a_real_service_account_works_even_after_its_token_changed(
    kubernetes: Cluster, kubectl: Kubectl, namespace: str, folder: Path
) -> None:
    kubectl("create", "serviceaccount", "robot")
    environment = server_of(kubernetes)
    (folder / "ca.crt").write_text(environment["authority"])

    async with Api(ServiceAccount(folder, environment)) as api:
        with pytest.raises(ApiError, match="Unauthorized"):
            await api.get(ObjectRef("Pod", namespace, "any"))
        # The old one is still in memory: it is rejected once, and the new one is read.
        token = await asyncio.to_thread(kubectl, "create", "token", "robot")
        (folder / "token").write_text(token)
        robot = f'User "system:serviceaccount:{namespace}:robot" cannot get'
        with pytest.raises(Forbidden, match=robot):
            await api.get(ObjectRef("Pod", namespace, "any"))


async def test_a_server_with_another_authority_is_rejected(
    kubernetes: Cluster, namespace: str, folder: Path
) -> None:
    credentials = ServiceAccount(folder, server_of(kubernetes))
    async with Api(credentials, budget_seconds=0.5) as api:
        with pytest.raises(ApiError, match=r"(?i)certificate"):
            await api.get(ObjectRef("Pod", namespace, "any"))
