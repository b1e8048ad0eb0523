"""What one tenant asks for, however large, delays no other tenant's job (design §4.9).

One operator process serves two namespaces. Namespace A asks for ever more; namespace B creates a
job, and its pods' POSTs come no later than when A is empty. Times are those of the audit log.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
)
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from daskjob.kube.credentials import find_credentials
from tests.cluster.plugin import ROOT, Audited, Kubectl, KubectlFailed, Kubernetes
from tests.operator.clusters import fake_cluster
from tests.operator.history import MERGE_PATCH, Manifest, Server, fresh_server, watched_server
from tests.operator.jobs import fake_job
from tests.operator.process import OperatorProcess
from tests.waiting import until, wait_until

Audit = Callable[[], AbstractContextManager[Audited]]

#: The largest number of a Kubernetes replica count.
LARGEST = 2**31 - 1
#: The largest number that the CRDs accept.
MOST = 10_000
DELAY_SECONDS = 1.0
MEMORY_BYTES = 300 << 20
RETIREMENTS = 64
#: Runner, scheduler and two workers.
PODS_OF_A_JOB = 4
CRD = ROOT / "operator-chart" / "crds" / "daskworkergroup.yaml"


@dataclass
class Tenants:
    """Two namespaces, and an operator of both."""

    a: Server
    b: Server
    operator: OperatorProcess
    log: Path
    audit: Audit
    jobs: int = 0

    async def seconds_to_the_pods_of_b(self) -> float:
        """Create a job in B; return the time from its POST to the last POST of its pods."""
        name = f"sums-{self.jobs}"
        self.jobs += 1
        with self.audit() as audited:
            await self.b.create("DaskJob", fake_job(name))
            await until(
                lambda: len(self._pods_of(name)) == PODS_OF_A_JOB,
                shows=lambda: self.log.read_text()[-6000:],
            )
        at = {
            r.resource: datetime.fromisoformat(r.received)
            for r in audited.requests
            if (r.namespace, r.verb) == (self.b.namespace, "create") and r.code == 201
        }
        return (at["pods"] - at["daskjobs"]).total_seconds()

    async def seconds(self, when: str) -> float:
        """Print and return the median of three such times."""
        times = sorted([await self.seconds_to_the_pods_of_b() for _ in range(3)])
        print(f"{when}: {', '.join(f'{each:.2f}' for each in times)} s")
        return times[1]

    def _pods_of(self, job: str) -> list[str]:
        pods = [name for kind, name in self.b.objects if kind == "Pod"]
        return [name for name in pods if name.startswith(f"{job}-")]

    def memory(self) -> int:
        """Print and return the most memory that the operator has had, in bytes."""
        status = Path(f"/proc/{self.operator.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
        print(f"memory of the operator: at most {int(line.split()[1]) >> 10} MiB")
        return int(line.split()[1]) << 10


@pytest.fixture
def tenants(
    with_crds: Kubernetes,
    namespace: str,
    fake_nodes: Callable[[int], None],
    audit: Audit,
    tmp_path: Path,
) -> AbstractAsyncContextManager[Tenants]:
    """A in the test's namespace, B in another."""
    fake_nodes(2)
    return _tenants(with_crds, namespace, audit, tmp_path)


@asynccontextmanager
async def _tenants(
    kubernetes: Kubernetes, namespace: str, audit: Audit, folder: Path
) -> AsyncIterator[Tenants]:
    access = await find_credentials(str(kubernetes.kubeconfig)).access()
    async with AsyncExitStack() as stack:
        a = await stack.enter_async_context(watched_server(access, namespace))
        other = f"team-b-{uuid.uuid4().hex[:8]}"
        b = await stack.enter_async_context(fresh_server(access, other))
        log = folder / "operator.log"
        environment = {"DASKJOB_POD_UID": "one"}
        operator = OperatorProcess(kubernetes.kubeconfig, f"{namespace},{other}", log, environment)
        stack.push_async_callback(operator.stop)
        await operator.start()
        yield Tenants(a, b, operator, log, audit)


@pytest.fixture
def largest_group(with_crds: Kubernetes, kubectl: Kubectl) -> None:
    """A group in A that an older CRD accepted: it had no bound for the number of workers."""
    older = yaml.safe_load(CRD.read_text())
    for version in older["spec"]["versions"]:
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        del spec["properties"]["worker"]["properties"]["replicas"]["maximum"]
    change = ("apply", "--server-side", "--force-conflicts", "-f")
    with_crds.kubectl(*change, "-", stdin=json.dumps(older))
    # The API server serves a changed CRD a moment later.
    try:
        wait_until(lambda: _accepted(kubectl, "--dry-run=server"), 30)
        assert _accepted(kubectl)
    finally:
        with_crds.kubectl(*change, str(CRD))
    wait_until(lambda: not _accepted(kubectl, "--dry-run=server", name="other"), 30)


def _accepted(kubectl: Kubectl, *dry_run: str, name: str = "largest") -> bool:
    """Return whether the API server accepts the group."""
    group = json.dumps(_unscheduled(_group(name, LARGEST)))
    try:
        kubectl("create", *dry_run, "-f", "-", stdin=group)
    except KubectlFailed as error:
        if "should be less than or equal to 10000" not in error.said:
            raise
        return False
    return True


def _unscheduled(manifest: Manifest) -> Manifest:
    """Let no Kubernetes scheduler see the workers: their number costs the machine little."""
    manifest["spec"]["worker"]["spec"]["schedulerName"] = "none"
    return manifest


def _group(name: str, workers: int) -> Manifest:
    """A further group of A's cluster."""
    worker = fake_cluster(workers)["spec"]["worker"]
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "metadata": {"name": name},
        "spec": {"cluster": "simple", "worker": worker},
    }


def _named(manifest: Manifest, name: str) -> Manifest:
    manifest["metadata"]["name"] = name
    return manifest


def _quota(pods: int) -> Manifest:
    """A quota for pods."""
    kind = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "pods"}}
    return {**kind, "spec": {"hard": {"pods": str(pods)}}}


async def test_any_number_of_workers_in_one_namespace_delays_no_job_of_another(
    largest_group: None, tenants: Tenants
) -> None:
    del largest_group
    a = tenants.a
    # The group waits for its cluster.
    await tenants.seconds_to_the_pods_of_b()
    alone = await tenants.seconds("alone")

    for manifest in (_group("refused", LARGEST), _named(fake_cluster(LARGEST), "refused")):
        with pytest.raises(AssertionError, match="should be less than or equal to 10000"):
            await a.create(manifest["kind"], manifest)
    refused = await tenants.seconds("after refused numbers")

    await a.create("ResourceQuota", _quota(2))
    await a.create("DaskCluster", fake_cluster(0))
    await a.create("DaskCluster", _unscheduled(_named(fake_cluster(MOST), "most")))
    rejected = await tenants.seconds("beside workers that a quota rejects")

    await a.patch("ResourceQuota", "pods", {"spec": {"hard": {"pods": "1000000"}}})
    await a.until(lambda: _workers(a) > 200)
    before = _workers(a)
    created = await tenants.seconds("beside workers that are created")
    assert _workers(a) > before

    assert max(refused, rejected, created) <= alone + DELAY_SECONDS
    assert tenants.memory() < MEMORY_BYTES


def _workers(server: Server) -> int:
    return sum(kind == "Pod" and "-worker-" in name for kind, name in server.objects)


class FalseAgent:
    """The agent of a scheduler that knows its workers, and never answers a retirement."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.retirements = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Listen at a port of this machine."""
        application = web.Application()
        application.router.add_get("/daskjob/v1/state", self._state)
        application.router.add_post("/daskjob/v1/retire", self._retire)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    async def _state(self, _request: web.Request) -> web.Response:
        names = [name for kind, name in self._server.objects if kind == "Pod"]
        rows = [
            [name, f"tcp://127.0.0.1:{10_000 + n}", 1, 0, "running"]
            for n, name in enumerate(sorted(names))
            if "-worker-" in name
        ]
        columns = ["name", "address", "memory", "processing", "status"]
        workers = {"total": len(rows), "columns": columns, "rows": rows}
        return web.json_response({"version": 1, "tasks": {}, "workers": workers})

    async def _retire(self, _request: web.Request) -> web.Response:
        self.retirements += 1
        await asyncio.sleep(3600)
        return web.Response()


async def test_64_hanging_retirements_of_one_namespace_delay_no_job_of_another(
    tenants: Tenants,
) -> None:
    a, agent = tenants.a, FalseAgent(tenants.a)
    async with agent.listening() as port:
        cluster = fake_cluster(0)
        ports = [
            {"name": "tcp-comm", "port": 8786},
            {"name": "http-dashboard", "port": 8787, "targetPort": port},
        ]
        cluster["spec"]["scheduler"]["service"] = {"type": "ClusterIP", "ports": ports}
        await a.create("DaskCluster", cluster)
        await a.until(lambda: _runs(a, "simple-scheduler"))
        path = f"/api/v1/namespaces/{a.namespace}/pods/simple-scheduler/status"
        address = {"status": {"podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}
        await a.ask("PATCH", path, data=json.dumps(address), headers=MERGE_PATCH)
        groups = [f"group-{n}" for n in range(RETIREMENTS)]
        for name in groups:
            await a.create("DaskWorkerGroup", _group(name, 1))
        await a.until(lambda: _workers(a) == RETIREMENTS)
        alone = await tenants.seconds("alone")

        for name in groups:
            await a.patch("DaskWorkerGroup", name, {"spec": {"worker": {"replicas": 0}}})
        await until(lambda: agent.retirements)
        beside = await tenants.seconds("beside hanging retirements")
        # None has ended in the meantime.
        assert _workers(a) == RETIREMENTS
        assert beside <= alone + DELAY_SECONDS
        assert tenants.memory() < MEMORY_BYTES


def _runs(server: Server, pod: str) -> bool:
    return bool(server.objects.get(("Pod", pod), {}).get("status", {}).get("phase") == "Running")
