"""A block and a worker with wrong input: the client's message, at once, and no other try."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from daskjob.integrations.prefect import DaskJobWorker
from tests.cluster.plugin import Kubernetes
from tests.orchestrators.prefect.conftest import Place
from tests.orchestrators.prefect.pool import Pool, of_cluster
from tests.orchestrators.prefect.server import Server
from tests.orchestrators.prefect.test_bad_input import failure
from tests.orchestrators.prefect.wrong import CASES, Users, changes, start_registry, users

#: What only a worker can be given, and what its message contains.
OF_WORKERS: dict[str, tuple[dict[str, Any], str]] = {
    "mistakes": ({"n_workers": -1}, "replicas"),
    "no image": ({"image": ""}, "image"),
    "no secrets": ({}, "secrets"),
}


@pytest.fixture(scope="module")
def few(with_crds: Kubernetes, cluster: Place, tmp_path_factory: pytest.TempPathFactory) -> Users:
    """Users with few permissions, and a registry without images."""
    namespace = cluster.fields["namespace"]
    image = cluster.fields["manifest"]["spec"]["job"]["spec"]["containers"][0]["image"]
    start_registry(with_crds, namespace, image)
    return users(with_crds, namespace, tmp_path_factory.mktemp("users"))


@pytest.mark.parametrize("case", CASES)
def test_a_task_fails_at_once(case: str, server: Server, cluster: Place, few: Users) -> None:
    del server
    text, kind = CASES[case]
    error, tries = failure({**cluster.fields, **changes(few)[case]})
    assert (type(error).__name__, tries) == (kind, 1)
    assert text in str(error)


@pytest.fixture(scope="module")
def messages(
    server: Server,
    cluster: Place,
    with_crds: Kubernetes,
    few: Users,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, tuple[str, list[Any]]]]:
    """What a flow run of each case ends with, and the jobs that it has left."""
    own = {name: variables for name, (variables, _) in OF_WORKERS.items()}
    own["no secrets"] = {"kubeconfig": str(few.without_secrets)}
    folder = tmp_path_factory.mktemp("wrong")
    with of_cluster(server, cluster, with_crds, folder) as pool:
        cases = {**changes(few), **own}
        runs = {case: pool.run(variables=variables) for case, variables in cases.items()}
        pool.log.touch()
        asyncio.run(once(pool))
        yield {
            case: (pool.ended(flow_run, "Crashed"), cluster.known(flow_run))
            for case, flow_run in runs.items()
        }


async def once(pool: Pool) -> None:
    """Let a worker take what is scheduled, and wait for it."""
    worker = DaskJobWorker(work_pool_name=pool.name, prefetch_seconds=60)
    await worker.start(run_once=True)


@pytest.mark.parametrize("case", [*CASES, *OF_WORKERS])
def test_a_flow_run_crashes_at_once(case: str, messages: dict[str, tuple[str, list[Any]]]) -> None:
    message, left = messages[case]
    assert (CASES[case][0] if case in CASES else OF_WORKERS[case][1]) in message
    # What was created is cancelled, or deleted.
    assert [job.status.phase for job in left if job.status.phase != "Cancelled"] == []
