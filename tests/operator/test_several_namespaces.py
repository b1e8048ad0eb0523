"""An operator of two namespaces, one of them in trouble: the other one's jobs run (design §4.9).

The operator is a process. Its permissions are those of the chart: a Role in each namespace.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from aiohttp import web

from daskjob.kube.credentials import find_credentials
from tests.chart.rendering import render
from tests.cluster.plugin import Kubernetes
from tests.cluster.proxy import FaultProxy, Passage
from tests.operator.history import MERGE_PATCH, Manifest, Server, fresh_server
from tests.operator.jobs import ended, fake_job
from tests.operator.process import OperatorProcess
from tests.waiting import until

ROLES = "/apis/rbac.authorization.k8s.io/v1/namespaces"
LEASES = "/apis/coordination.k8s.io/v1/namespaces"
ACCOUNT = "operator"
#: A binding, or the Lease of another operator, lasts longer than any test.
LONG_SECONDS = 3600
#: The Lease's duration, the interval at which another's is read, and a busy machine.
LEASE_SECONDS = 45.0


@dataclass
class Tenants:
    """Two namespaces, and an operator of both."""

    a: Server
    b: Server
    operator: OperatorProcess
    log: Path
    #: The binding of the operator's Role in namespace B.
    binding: Manifest

    async def start(self) -> None:
        """Start the operator."""
        await self.operator.start()
        await until(lambda: "serving probes at" in self.text, shows=lambda: self.text)

    @property
    def text(self) -> str:
        """The operator's log."""
        return self.log.read_text() if self.log.exists() else ""

    async def get(self, path: str) -> tuple[int, str]:
        """Return the operator's answer at a path."""
        found = re.search(r"serving probes at (\S+)/healthz", self.text)
        assert found is not None, self.text
        async with self.a.session.get(found[1] + path) as answer:
            return answer.status, await answer.text()

    async def until_states(self, a: str, b: str) -> None:
        """Wait until the operator is this in A and in B."""
        wanted = f"{self.a.namespace}: {a}\n{self.b.namespace}: {b}\n"

        async def reached() -> bool:
            return (await self.get("/readyz")) == (200, wanted)

        await until(reached, LEASE_SECONDS, lambda: f"not {wanted}\n{self.text}", pause=0.2)

    async def bind(self) -> None:
        """Give the operator its permissions in B."""
        path = f"{ROLES}/{self.b.namespace}/rolebindings"
        await self.a.ask("POST", path, json=self.binding)

    async def unbind(self) -> None:
        """Take the operator's permissions in B."""
        name = self.binding["metadata"]["name"]
        await self.a.ask("DELETE", f"{ROLES}/{self.b.namespace}/rolebindings/{name}")

    async def give_lease(self, holder: str) -> None:
        """Write this holder into B's Lease, as anyone with the role ``edit`` may."""
        spec = {"holderIdentity": holder, "leaseDurationSeconds": LONG_SECONDS}
        path = f"{LEASES}/{self.b.namespace}/leases/daskjob-operator"
        body = json.dumps({"spec": spec})
        await self.a.ask("PATCH", path, data=body, headers=MERGE_PATCH)

    async def job_of_a_runs_and_that_of_b_waits(self) -> None:
        """Create a job in each; assert that only that of A gets a status, and to its end."""
        for server in (self.b, self.a):
            await server.create("DaskJob", fake_job(ends_after="0s"))
        await _until_ended(self.a)
        assert self.a.objects["DaskJob", "sums"]["status"]["jobStatus"] == "Successful"
        assert "status" not in self.b.objects["DaskJob", "sums"], self.text
        assert (await self.get("/healthz"))[0] == 200
        _, numbers = await self.get("/metrics")
        leads = 'daskjob_namespace_leader{{watched_namespace="{}"}} {}\n'
        assert leads.format(self.a.namespace, 1) in numbers
        assert leads.format(self.b.namespace, 0) in numbers

    async def job_of_b_runs_too(self) -> None:
        """Wait until B's job has ended, made by the same process."""
        await _until_ended(self.b)
        assert self.operator.running
        assert "Traceback" not in self.text


@pytest.fixture
def tenants(
    with_crds: Kubernetes, fake_nodes: Callable[[int], None], tmp_path: Path
) -> AbstractAsyncContextManager[Tenants]:
    """Two namespaces in which the operator has the permissions of the chart, not yet running."""
    fake_nodes(2)
    return _tenants(with_crds, tmp_path)


@asynccontextmanager
async def _tenants(kubernetes: Kubernetes, folder: Path) -> AsyncIterator[Tenants]:
    async with _servers(kubernetes) as (a, b):
        token = await _account(a)
        values = {"rbac": {"cluster": False}, "watchNamespaces": [a.namespace, b.namespace]}
        binding: Manifest = {}
        for item in render(values):
            if item["kind"] not in ("Role", "RoleBinding"):
                continue
            if item["kind"] == "RoleBinding":
                account = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": a.namespace}
                item["subjects"] = [account]
                binding = item
            namespace = item["metadata"]["namespace"]
            await a.ask("POST", f"{ROLES}/{namespace}/{item['kind'].lower()}s", json=item)
        assert binding["metadata"]["namespace"] == b.namespace
        config = yaml.safe_load(kubernetes.kubeconfig.read_text())
        for user in config["users"]:
            user["user"] = {"token": token}
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(json.dumps(config))
        async with _operator(a, b, kubeconfig, folder) as (operator, log):
            yield Tenants(a, b, operator, log, binding)


async def _until_ended(server: Server) -> None:
    await server.until(lambda: ended(server.objects.get(("DaskJob", "sums"), {})))


@asynccontextmanager
async def _servers(kubernetes: Kubernetes) -> AsyncIterator[tuple[Server, Server]]:
    access = await find_credentials(str(kubernetes.kubeconfig)).access()
    suffix = uuid.uuid4().hex[:8]
    async with AsyncExitStack() as stack:
        a, b = [
            await stack.enter_async_context(fresh_server(access, f"team-{name}-{suffix}"))
            for name in "ab"
        ]
        yield a, b


async def _account(server: Server) -> str:
    """Create a service account; return a token of it."""
    path = f"/api/v1/namespaces/{server.namespace}/serviceaccounts"
    await server.ask("POST", path, json={"metadata": {"name": ACCOUNT}})
    request = {"spec": {"expirationSeconds": LONG_SECONDS}}
    found = await server.ask("POST", f"{path}/{ACCOUNT}/token", json=request)
    return str(found["status"]["token"])


@asynccontextmanager
async def _operator(
    a: Server, b: Server, kubeconfig: Path, folder: Path
) -> AsyncIterator[tuple[OperatorProcess, Path]]:
    log = folder / "operator.log"
    operator = OperatorProcess(
        kubeconfig,
        f"{a.namespace},{b.namespace}",
        log,
        {"DASKJOB_POD_UID": "one"},
        words=["--liveness=http://127.0.0.1:0/healthz"],
    )
    try:
        yield operator, log
    finally:
        await operator.stop()


async def test_permissions_that_are_deleted_in_one_namespace_stop_only_its_jobs(
    tenants: Tenants,
) -> None:
    await tenants.start()
    await tenants.until_states("leader", "leader")
    await tenants.unbind()
    await tenants.until_states("leader", "standby")
    await tenants.job_of_a_runs_and_that_of_b_waits()
    await tenants.bind()
    await tenants.job_of_b_runs_too()


async def test_lease_that_another_holds_in_one_namespace_stops_only_its_jobs(
    tenants: Tenants,
) -> None:
    await tenants.start()
    await tenants.until_states("leader", "leader")
    await tenants.give_lease("mallory")
    await tenants.until_states("leader", "standby")
    await tenants.job_of_a_runs_and_that_of_b_waits()
    await tenants.give_lease("")
    await tenants.job_of_b_runs_too()


async def test_permissions_that_are_missing_at_the_start_stop_only_their_namespace(
    tenants: Tenants,
) -> None:
    await tenants.unbind()
    await tenants.start()
    await tenants.until_states("leader", "the first lists are not complete")
    await tenants.job_of_a_runs_and_that_of_b_waits()
    await tenants.bind()
    await tenants.job_of_b_runs_too()


@pytest.mark.parametrize(
    "body",
    [b"<html>502 Bad Gateway</html>", b"\xff\xfe", b"", b"{}", b'{"kind":"Lease","spec":[1]}'],
    ids=["page", "no UTF-8", "nothing", "empty", "no Lease"],
)
async def test_operator_survives_any_answer_about_its_lease(
    body: bytes, with_crds: Kubernetes, fake_nodes: Callable[[int], None], tmp_path: Path
) -> None:
    async def nonsense(_passage: Passage) -> web.StreamResponse:
        return web.Response(body=body, content_type="application/json")

    fake_nodes(2)
    async with _servers(with_crds) as (a, b), FaultProxy(a.access) as proxy:
        rule = proxy.on(
            nonsense,
            resource="leases",
            when=lambda request: request.namespace == b.namespace,
            times=None,
        )
        config = proxy.write_kubeconfig(tmp_path / "kubeconfig")
        async with _operator(a, b, config, tmp_path) as (operator, log):
            tenants = Tenants(a, b, operator, log, {})
            await tenants.start()
            await tenants.until_states("leader", "standby")
            await tenants.job_of_a_runs_and_that_of_b_waits()
            await until(lambda: rule.hits >= 2)
            rule.end()
            await _until_ended(b)
            assert operator.running
