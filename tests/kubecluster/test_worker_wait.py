"""The wait for workers while a scheduler is replaced, with a server of Dask in its place."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from types import SimpleNamespace
from typing import Any, cast

import dask.config
import pytest
from distributed.core import Server, Status, rpc

from daskjob.kube.api import Api
from daskjob.kubecluster.cluster import KubeCluster
from daskjob.kubecluster.errors import ClusterClosed, NoConnection, StillMissing
from daskjob.kubecluster.specs import make_cluster_spec
from daskjob.kubecluster.watch import ClusterWatch
from daskjob.kubecluster.worker_wait import WorkerWait
from daskjob.submit.clusters.cluster import Cluster

pytestmark = pytest.mark.check(22)
WORKERS = {"tcp://a:1": {"name": "x-default-worker-1", "status": "running"}}


async def scheduler(stack: AsyncExitStack, address: str, workers: dict[str, Any]) -> Server:
    async def identity(**_: object) -> dict[str, Any]:
        return {"type": "Scheduler", "id": "s", "workers": workers, "services": {}}

    server = await stack.enter_async_context(Server({"identity": identity}))
    await server.listen(address)
    return server


async def running(stack: AsyncExitStack, address: str) -> KubeCluster:
    """Return a cluster as it is after its start, without a Kubernetes."""
    cluster = KubeCluster("x", namespace="any", asynchronous=True, quiet=True)
    cluster.scheduler_comm = rpc(address)
    cluster.status = Status.running
    stack.push_async_callback(cluster._ending.undo)
    return cluster


def waiting(cluster: KubeCluster, timeout: str | None) -> asyncio.Future[None]:
    wait = WorkerWait("x", 1, timeout)
    return asyncio.ensure_future(wait.done(cluster._asked, lambda: {"default": "no node"}))


async def test_it_goes_on_while_the_scheduler_is_replaced() -> None:
    async with AsyncExitStack() as stack:
        first = await scheduler(stack, "tcp://127.0.0.1:0", {})
        address = first.address
        cluster = await running(stack, address)
        wait = waiting(cluster, "60s")
        await cluster._asked()
        await first.close()
        with suppress(OSError):
            async with asyncio.timeout(0.1):
                await cluster._asked()
        assert not wait.done()
        await scheduler(stack, address, WORKERS)
        await wait


async def test_its_error_names_a_scheduler_that_does_not_answer() -> None:
    async with AsyncExitStack() as stack:
        server = await scheduler(stack, "tcp://127.0.0.1:0", {})
        cluster = await running(stack, server.address)
        with pytest.raises(StillMissing, match=r"only 0 of 1 workers run after 1 s: no node"):
            await waiting(cluster, "1000ms")
        await server.close()
        message = r"only 0 of 1 workers run after 1 s: the scheduler does not answer"
        with pytest.raises(StillMissing, match=message):
            await waiting(cluster, "1s")


async def test_workers_of_the_scheduler_that_was_lost_do_not_count() -> None:
    async with AsyncExitStack() as stack:
        server = await scheduler(stack, "tcp://127.0.0.1:0", WORKERS)
        cluster = await running(stack, server.address)
        await waiting(cluster, "60s")
        await server.close()
        with pytest.raises(StillMissing, match="only 0 of 1 workers"):
            await waiting(cluster, "1s")


@pytest.mark.parametrize(
    ("awaited", "group", "adaptive", "reason"),
    [
        (9, None, (), "3 are requested; scale requests more"),
        (2, "big", (), "1 is requested; scale requests more"),
        (3, None, (), "no node"),
        (9, "big", ("big",), ""),
        (9, None, ("default",), "no node"),
    ],
)
def test_its_error_says_that_no_more_workers_are_requested(
    awaited: int, group: str | None, adaptive: tuple[str, ...], reason: str
) -> None:
    watch = SimpleNamespace(
        replicas=lambda: {"default": 2, "big": 1},
        autoscaling=lambda: {key: {} for key in adaptive} or None,
        problems=lambda: {"default": "no node"},
    )
    wait = WorkerWait("x", awaited, "1s", group)
    assert wait.reason(wait.problems(cast("ClusterWatch", watch))) == reason


async def test_its_error_without_a_known_reason_says_where_to_look() -> None:
    async def no_workers() -> dict[str, Any]:
        return {}

    with pytest.raises(StillMissing, match=r"only 0 of 1 workers .*get_logs\(\) shows"):
        await WorkerWait("x", 1, "10ms").done(no_workers, dict)


async def test_it_ends_with_the_cluster() -> None:
    async with AsyncExitStack() as stack:
        server = await scheduler(stack, "tcp://127.0.0.1:0", {})
        cluster = await running(stack, server.address)
        wait = waiting(cluster, None)
        await cluster._asked()
        await cluster._ending.undo()
        with pytest.raises(ClusterClosed, match="cluster x is closed"):
            await wait


async def test_no_worker_is_retired_without_a_scheduler() -> None:
    async with AsyncExitStack() as stack:
        server = await scheduler(stack, "tcp://127.0.0.1:0", {})
        cluster = await running(stack, server.address)
        manifest = make_cluster_spec("x", n_workers=1)
        cluster._session.watch = ClusterWatch(cast(Api, None), Cluster(manifest))
        # The comm that is known breaks off, and the time limit of a new one is short.
        await cluster.scheduler_comm.identity()
        await server.close()
        limit = dask.config.set({"distributed.comm.timeouts.connect": "200ms"})
        with (
            limit,
            pytest.raises(NoConnection, match="no worker of x was retired, since its sched"),
        ):
            await cluster._scaling.retire(["x-default-worker-1"], cluster.scheduler_comm)
