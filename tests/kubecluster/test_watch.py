"""What happened to a cluster before its watch began, with a real API server."""

from __future__ import annotations

import asyncio
import json

import pytest

from daskjob.kubecluster import errors
from daskjob.kubecluster.cluster import KubeCluster
from daskjob.kubecluster.existing import existing
from daskjob.kubecluster.specs import make_cluster_spec
from daskjob.kubecluster.watch import ClusterWatch
from daskjob.submit.clusters.client import AsyncClusterClient
from tests.kubecluster.conftest import Place
from tests.waiting import until

pytestmark = pytest.mark.check(9)


def create(place: Place, name: str) -> None:
    place.kubectl("create", "-f", "-", stdin=json.dumps(make_cluster_spec(name)))


def change(place: Place, name: str, meanwhile: str) -> None:
    if meanwhile == "changed":
        place.kubectl("annotate", "daskcluster", name, "note=1")
        return
    place.kubectl("delete", "daskcluster", name)
    if meanwhile == "replaced":
        create(place, name)


@pytest.mark.parametrize("meanwhile", ["deleted", "replaced", "changed"])
async def test_a_change_before_the_watch_is_seen(bare: Place, meanwhile: str) -> None:
    await asyncio.to_thread(create, bare, meanwhile)
    kubeconfig = str(bare.kubernetes.kubeconfig)
    async with AsyncClusterClient(bare.namespace, kubeconfig=kubeconfig) as clients:
        watch = ClusterWatch(await clients.api(), await existing(clients, meanwhile))
        await asyncio.to_thread(change, bare, meanwhile, meanwhile)
        watch.start()
        try:
            if meanwhile == "changed":
                await until(lambda: watch.cluster.manifest["metadata"].get("annotations"))
                await asyncio.to_thread(bare.kubectl, "delete", "daskcluster", meanwhile)
            await until(lambda: watch.gone)
        finally:
            await watch.stop()


async def test_connecting_to_a_cluster_that_is_replaced_reports_that(
    bare: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(create, bare, "early")
    start = ClusterWatch.start

    def replaced(watch: ClusterWatch) -> None:
        change(bare, "early", "replaced")
        start(watch)

    monkeypatch.setattr(ClusterWatch, "start", replaced)
    where = {"namespace": bare.namespace, "kubeconfig": str(bare.kubernetes.kubeconfig)}
    cluster = KubeCluster.from_name("early", asynchronous=True, quiet=True, **where)
    with pytest.raises(errors.NoSuchCluster, match="cluster early was deleted while it started"):
        await cluster
    assert "daskcluster.kubernetes.dask.org/early" in bare.kubectl.there("daskclusters")
