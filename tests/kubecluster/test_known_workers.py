"""The workers that a client knows, beside another client: with a scheduler and workers of Dask."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from distributed import Scheduler, Worker
from distributed.core import rpc
from distributed.deploy import Cluster

from daskjob.kube.resources import CLUSTERS
from daskjob.kubecluster import known_workers
from daskjob.kubecluster.specs import make_cluster_spec
from daskjob.kubecluster.watch import ClusterWatch
from daskjob.submit.clusters import cluster as clusters
from tests.waiting import until


def watch() -> ClusterWatch:
    manifest = {**make_cluster_spec("x"), "kind": CLUSTERS.kind}
    manifest["metadata"] |= {"namespace": "team", "uid": "x"}
    return ClusterWatch(None, clusters.Cluster(manifest))  # type: ignore[arg-type]


async def connected(address: str) -> Cluster:
    """Return a client of a cluster, as the base class of all Dask clusters has it."""
    made = Cluster(asynchronous=True, quiet=True)
    made.scheduler_comm = rpc(address)
    await made._start()
    return made


@pytest.mark.check(23)
@pytest.mark.filterwarnings("ignore:Scheduler already contains a plugin")
async def test_workers_are_known_though_another_client_has_come_and_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known_workers, "SECONDS", 0.01)
    monkeypatch.setattr(known_workers, "PAUSE_SECONDS", 0.0)
    async with Scheduler(port=0, dashboard_address=":0") as scheduler:
        first = await connected(scheduler.address)
        taken: list[dict[str, Any]] = []

        def take(identity: dict[str, Any]) -> None:
            taken.append(identity)
            first.scheduler_info = identity

        known: Callable[[], Any] = lambda: first.scheduler_info["workers"]  # noqa: E731
        keeping = asyncio.ensure_future(
            known_workers.keep_known(watch(), first.scheduler_comm, known, take)
        )
        other = await connected(scheduler.address)
        worker = await Worker(scheduler.address, dashboard=False)
        await until(lambda: list(known()) == [worker.address])
        await other.close()
        await worker.close()
        await until(lambda: not known())
        async with Worker(scheduler.address, dashboard=False) as again:
            await until(lambda: list(known()) == [again.address])
        await until(lambda: not known())
        # Only what has changed is read.
        assert len(taken) == 4
        keeping.cancel()
        await first.close()
