"""The number of sequential API round trips before a job's first pods are created.

The operator is a process behind a proxy, and no other operator may run at the same time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from daskjob.kube.credentials import find_credentials
from tests.cluster.plugin import Kubernetes
from tests.cluster.proxy import Request, held
from tests.operator.jobs import fake_job
from tests.operator.staged import counted, staged
from tests.waiting import until

FakeNodes = Callable[[int], None]
COMPONENTS = {"job-runner", "scheduler", "worker"}
RUNS = 8
#: How long each write takes at least. Writes that do not depend on each other begin within it,
#: also on a busy machine.
WRITE_SECONDS = 0.5


def test_runner_scheduler_and_first_worker_are_created_after_at_most_2_round_trips(
    with_crds: Kubernetes, fake_nodes: FakeNodes, tmp_path: Path
) -> None:
    fake_nodes(2)
    # A request that merely happens to end before another begins is in sequence by chance, more
    # often on a busy machine. A real dependency shows in every run: one run without it is a proof.
    waits: list[dict[str, list[str]]] = []
    while (missing := _too_late(waits)) and len(waits) < RUNS:
        waits.append(_waits(asyncio.run(_creations(with_crds.kubeconfig, tmp_path))))
    assert not missing, waits


def _too_late(waits: list[dict[str, list[str]]]) -> set[str]:
    """Return the components that waited for more than two round trips in every run.

    At most two complete ones, and then the POST itself.
    """
    met = {part for wait in waits for part in COMPONENTS if len(wait[part]) <= 2}
    return COMPONENTS - met


def _waits(asked: list[Request]) -> dict[str, list[str]]:
    """Return the requests that each component's first pod waited for."""
    first = {_component(r): number for number, r in reversed([*enumerate(asked)])}
    return {
        component: [f"{r.verb} {r.resource}" for r in _in_sequence(asked, number)]
        for component, number in first.items()
    }


async def _creations(kubeconfig: Path, folder: Path) -> list[Request]:
    """Return all writes, in order, of an operator that is ready when a job is created."""
    access = await find_credentials(str(kubeconfig)).access()
    async with staged(access, folder, "sequence") as stage:
        server, proxy = stage.server, stage.proxy
        proxy.on(held(WRITE_SECONDS), when=counted, times=None)
        await stage.operator.start()
        await until(lambda: proxy.requests("create", "leases"), 60, pause=0.1)
        await asyncio.sleep(1)
        await server.create("DaskJob", fake_job())
        # Two workers, a scheduler and a runner.
        await server.until(lambda: sum(kind == "Pod" for kind, _ in server.objects) == 4)
    return [request for request in stage.writes if request.resource != "events"]


def _component(request: Request) -> str:
    if (request.verb, request.resource) != ("create", "pods"):
        return ""
    return str(json.loads(request.body)["metadata"]["labels"]["dask.org/component"])


def _in_sequence(asked: list[Request], number: int) -> list[Request]:
    """Return the longest chain of requests before this one, each forwarded before the next."""
    chains: list[list[Request]] = []
    for position, request in enumerate(asked[: number + 1]):
        earlier = [
            chain
            for chain, before in zip(chains, asked[:position], strict=True)
            if before.at + WRITE_SECONDS <= request.at
        ]
        chains.append([*max(earlier, key=len, default=[]), request])
    return chains[number][:-1]
