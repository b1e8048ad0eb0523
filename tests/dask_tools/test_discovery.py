"""Discovery for dask-ctl, which works with distributed up to 2026.3, and its contract."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
from pathlib import Path

import pytest

from daskjob.dask_tools.discovered import class_in
from daskjob.dask_tools.discovery import discover
from daskjob.kubecluster.cluster import KubeCluster
from daskjob.kubecluster.specs import make_cluster_spec
from tests.cli.test_on_cluster import operator
from tests.cluster.environments import environment
from tests.cluster.plugin import Kubectl, Kubernetes, WaitFor, fresh_namespace
from tests.dask_tools.installed import environment_with_daskjob
from tests.operator.clusters import cluster, running

DASK_CTL = (
    *("dask-ctl==2024.1.0", "distributed==2026.3.0", "dask==2026.3.0"),
    *("aiohttp>=3.12", "kr8s>=0.20", "msgspec>=0.18", "rich>=13.0", "psutil>=5.9"),
)
PROGRAM = """
import dask_ctl.config
from dask_ctl.lifecycle import get_cluster, scale_cluster
from dask_ctl.discovery import list_discovery_methods
from distributed import Client
print(list_discovery_methods()["daskjob"]["package"])
cluster = get_cluster("simple")
print(cluster.namespace, cluster.name)
print(cluster.get_snippet().splitlines()[3])
with cluster, Client(cluster) as client:
    print(client.submit(sum, range(100)).result())
scale_cluster("simple", 2)
"""


@pytest.mark.check(46)
async def test_clusters_of_all_namespaces_are_found_with_theirs(
    with_crds: Kubernetes,
    namespace: str,
    kubectl: Kubectl,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(with_crds.kubeconfig))
    with fresh_namespace(with_crds, request.node) as other:
        for place in (namespace, other):
            kubectl("create", "-n", place, "-f", "-", stdin=_json(cluster("none", 0)))
        found = {kind.found_in: (name, kind) async for name, kind in discover()}
        assert {namespace, other} <= set(found)
        assert [found[place][0] for place in (namespace, other)] == ["simple"] * 2
        assert issubclass(found[other][1], KubeCluster)


def _json(manifest: object) -> str:
    import json

    return json.dumps(manifest)


@pytest.mark.check(46)
async def test_without_a_kubernetes_none_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert [found async for found in discover()] == []


@pytest.mark.check(14)
@pytest.mark.check(46)
async def test_dask_ctl_finds_uses_scales_and_deletes_a_cluster(
    with_crds: Kubernetes, namespace: str, kubectl: Kubectl, wait_for: WaitFor, tmp_path: Path
) -> None:
    bin_folder = environment(*DASK_CTL)
    found = environment_with_daskjob(tmp_path, KUBECONFIG=str(with_crds.kubeconfig))

    async def called(*words: str) -> str:
        command = [str(bin_folder / words[0]), *words[1:]]
        done = await asyncio.to_thread(
            subprocess.run, command, env=found, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    spec = make_cluster_spec("simple", with_crds.image("dask2025"), n_workers=1)
    kubectl("create", "-f", "-", stdin=_json(spec))
    async with operator(with_crds, namespace, tmp_path):
        await asyncio.to_thread(wait_for, "daskcluster", "simple", running, seconds=120)
        out = await called("python", "-c", PROGRAM)
        assert out.splitlines() == [
            "daskjob",
            f"{namespace} simple",
            f"cluster = KubeCluster.from_name('simple', namespace={namespace!r})",
            "4950",
        ]
        assert kubectl.items("daskclusters")[0]["spec"]["worker"]["replicas"] == 2
        assert "simple" in await called("dask", "cluster", "list")
        assert len(kubectl.there("daskclusters")) == 1
        await called("dask", "cluster", "delete", "simple")
        await asyncio.to_thread(
            kubectl, "wait", "daskcluster/simple", "--for=delete", "--timeout=60s"
        )


@pytest.mark.check(46)
async def test_discovered_cluster_pickles_as_a_reference() -> None:
    kind = class_in("team")
    assert kind.__name__ == "KubeCluster"
    found = kind(name="simple", namespace="team", asynchronous=True)
    assert b"dask_tools" not in pickle.dumps(found)
    await found.close()
