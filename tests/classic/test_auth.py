"""The ways to authenticate: which one counts, and that none changes another cluster."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

import pytest
import yaml

from daskjob.classic import (
    AutoRefreshConfiguration,
    AutoRefreshKubeConfigLoader,
    ClusterAuth,
    InCluster,
    KubeAuth,
    KubeConfig,
)
from daskjob.classic import auth as auth_module
from daskjob.kube.access import Access, NoCredentials
from daskjob.kube.api import Api
from daskjob.kube.objects import list_objects
from daskjob.kube.resources import PODS, Selection
from tests.cluster.plugin import Kubernetes

pytestmark = pytest.mark.check(52)


def kubeconfig(folder: Path) -> str:
    """A kubeconfig with the contexts one (current) and two."""
    path = folder / "config"
    both = ("one", "two")
    content = {
        "current-context": "one",
        "contexts": [
            {"name": n, "context": {"cluster": n, "user": n, "namespace": f"ns-{n}"}} for n in both
        ],
        "clusters": [{"name": n, "cluster": {"server": f"https://{n}.test:6443"}} for n in both],
        "users": [{"name": n, "user": {"token": f"token-{n}"}} for n in both],
    }
    path.write_text(yaml.safe_dump(content))
    return str(path)


async def access_of(way: ClusterAuth) -> tuple[Access, str]:
    found = await way.load()
    return await found.access(), await found.namespace()


@pytest.mark.parametrize(("context", "name"), [(None, "one"), ("two", "two"), ("one", "one")])
@pytest.mark.parametrize("kind", [KubeConfig, AutoRefreshKubeConfigLoader])
async def test_context_of_a_kubeconfig_is_honoured(
    context: str | None, name: str, kind: type[KubeConfig], tmp_path: Path
) -> None:
    way = kind(kubeconfig(tmp_path), context)
    for each in (way, AutoRefreshConfiguration(way)):
        access, namespace = await access_of(each)
        assert (access.server, namespace) == (f"https://{name}.test:6443", f"ns-{name}")
        assert access.headers == {"Authorization": f"Bearer token-{name}"}


async def test_first_way_that_has_credentials_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth_module, "SERVICE_ACCOUNT", tmp_path / "none")
    path = kubeconfig(tmp_path)
    ways = [
        InCluster(),
        KubeConfig(path, "missing"),
        KubeConfig(path, "two"),
        KubeAuth("https://x"),
    ]
    found = await ClusterAuth.load_first(ways)
    assert (await found.access()).server == "https://two.test:6443"
    with pytest.raises(NoCredentials) as caught:
        await ClusterAuth.load_first(ways[:2])
    assert "InCluster: this process does not run in a pod" in str(caught.value)
    assert "there is no context 'missing'; existing contexts: one, two" in str(caught.value)
    monkeypatch.setenv("KUBECONFIG", path)
    assert (await (await ClusterAuth.load_first()).access()).server == "https://one.test:6443"
    with pytest.raises(NoCredentials, match="No authorization methods were provided"):
        await ClusterAuth.load_first([])


@pytest.mark.parametrize("given", ["KubeConfig", [1], {"context": "one"}, KubeConfig])
async def test_anything_else_is_rejected(given: object) -> None:
    with pytest.raises(ValueError, match="Invalid authorization method provided"):
        await ClusterAuth.load_first(given)  # type: ignore[arg-type]


async def test_explicit_settings_are_those_of_one_instance(tmp_path: Path) -> None:
    one = KubeAuth("https://one.test/", username="superuser", password="pass", verify_ssl=False)
    two = KubeAuth("https://two.test", token="t", assert_hostname="api.test", proxy="http://p:1")
    first, _ = await access_of(one)
    second, _ = await access_of(two)
    basic = base64.b64encode(b"superuser:pass").decode()
    assert (first.server, first.headers) == (
        "https://one.test",
        {"Authorization": f"Basic {basic}"},
    )
    assert isinstance(first.tls, ssl.SSLContext)
    assert isinstance(second.tls, ssl.SSLContext)
    assert (first.tls.verify_mode, second.tls.verify_mode) == (ssl.CERT_NONE, ssl.CERT_REQUIRED)
    assert (second.headers, second.server_name) == ({"Authorization": "Bearer t"}, "api.test")
    assert second.proxy == "http://p:1"
    keyed = KubeAuth("https://k.test", api_key={"authorization": "Bearer k"})
    assert (await access_of(keyed))[0].headers == {"Authorization": "Bearer k"}
    assert "pass" not in repr(one)
    for wrong in (KubeAuth("one.test"), KubeAuth("https://x", ssl_ca_cert=str(tmp_path / "no"))):
        with pytest.raises(NoCredentials, match="KubeAuth: "):
            await wrong.load()


async def test_explicit_settings_reach_a_real_api_server(
    kubernetes: Kubernetes, tmp_path: Path
) -> None:
    admin = yaml.safe_load(kubernetes.kubeconfig.read_text())
    cluster, user = admin["clusters"][0]["cluster"], admin["users"][0]["user"]

    def file(source: dict[str, str], name: str) -> str:
        data = source.get(f"{name}-data")
        path = tmp_path / name
        if data:
            path.write_bytes(base64.b64decode(data))
            return str(path)
        return source[name]

    way = KubeAuth(
        cluster["server"],
        ssl_ca_cert=file(cluster, "certificate-authority"),
        cert_file=file(user, "client-certificate"),
        key_file=file(user, "client-key"),
    )
    async with Api(await way.load()) as api:
        await list_objects(api, Selection(PODS, "default"))
