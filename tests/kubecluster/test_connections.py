"""How KubeCluster reaches its scheduler: in a pod with the documented permissions, and outside."""

from __future__ import annotations

import asyncio
import json
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from distributed.core import Server, Status

from daskjob.kubecluster.cluster import KubeCluster
from daskjob.kubecluster.errors import NoConnection
from daskjob.kubecluster.scheduler_connection import joined, scheduler_at
from daskjob.kubecluster.ways import Way
from tests.cli.kubeconfigs import kubeconfig_of
from tests.cluster.images import ROOT
from tests.kubecluster.conftest import SMALL, Place
from tests.kubecluster.permissions import ACCOUNT, apply_role

PROGRAM = """
import json, os, sys, time, warnings
warnings.simplefilter("ignore")
from daskjob import KubeCluster
from daskjob.core.errors import DaskJobError
from distributed import Client

given = json.loads(os.environ["ARGUMENTS"])
found = {}
with KubeCluster("inside", n_workers=1, **given) as cluster, Client(cluster) as client:
    found["result"] = client.submit(sum, range(100)).result(60)
    found["address"], found["link"] = cluster.scheduler_address, cluster.dashboard_link
    try:
        found["logs"] = list(cluster.get_logs())
    except DaskJobError as error:
        found["logs"] = str(error)
kinds = [("node", "NodePort"), ("balancer", "LoadBalancer")]
for name, kind in kinds:
    try:
        with KubeCluster(name, scheduler_service_type=kind, resource_timeout=5, **given) as cluster:
            found[name] = cluster.scheduler_address
    except DaskJobError as error:
        found[name] = str(error)
try:
    KubeCluster("forward", port_forward_cluster_ip=True, resource_timeout=60, **given)
except DaskJobError as error:
    found["forward"] = str(error)
print(json.dumps(found))
"""


def pod(place: Place) -> dict[str, Any]:
    """A pod with the Python packages of this machine."""
    folders = {"source": str(ROOT), "site": sysconfig.get_paths()["purelib"]}
    image = place.kubernetes.image("dask")
    given = {"image": image, "resources": SMALL, "quiet": True}
    container = {
        "name": "main",
        "image": image,
        "command": ["python", "-c", PROGRAM],
        "securityContext": {"runAsUser": 0},
        "env": [
            {"name": "PYTHONPATH", "value": "/source:/site"},
            {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
            {"name": "ARGUMENTS", "value": json.dumps(given)},
        ],
        "volumeMounts": [
            {"name": name, "mountPath": f"/{name}", "readOnly": True} for name in folders
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "notebook", "namespace": place.namespace},
        "spec": {
            "serviceAccountName": ACCOUNT,
            "restartPolicy": "Never",
            "containers": [container],
            "volumes": [
                {"name": name, "hostPath": {"path": path}} for name, path in folders.items()
            ],
        },
    }


@pytest.mark.check(11)
@pytest.mark.check(28)
@pytest.mark.check(31)
def test_connections_in_a_pod_with_the_documented_permissions(place: Place) -> None:
    if not place.kubernetes.kubeconfig.is_relative_to("/var/tmp") or sys.version_info[:2] != (
        3,
        11,
    ):
        pytest.skip("the pod needs the files and the Python of this machine")
    # Neither logs nor forwards, as with the Role of dask-kubernetes' page.
    apply_role(place.kubectl, without=("pods/log", "pods/portforward", "secrets"))
    place.kubectl("create", "-f", "-", stdin=json.dumps(pod(place)))
    place.kubectl(
        "wait", "pod/notebook", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=180s"
    )
    lines = place.kubectl("logs", "notebook").splitlines()
    (found,) = [json.loads(line) for line in lines if line.startswith("{")]
    service = f"inside-scheduler.{place.namespace}.svc"
    assert found["result"] == 4950
    assert found["address"] == f"tcp://{service}:8786"
    assert found["link"] == f"http://{service}:8787/status"
    # It may not read logs: that is in their place.
    assert found["logs"] == ["inside-scheduler", found["logs"][1]]
    assert found["node"].startswith("tcp://10.")
    assert not found["node"].endswith(":8786")
    assert "Service balancer-scheduler of type LoadBalancer has no address" in found["balancer"]
    assert 'cannot get resource "pods/portforward"' in found["forward"]
    assert "grants it with the rule" in found["forward"]
    assert not place.kubectl.there("daskclusters")


@pytest.mark.check(28)
@pytest.mark.check(9)
def test_an_error_names_both_ways(place: Place, shared: KubeCluster, tmp_path: Path) -> None:
    apply_role(place.kubectl, without=("pods/portforward",))
    limited = kubeconfig_of(place.kubernetes, place.namespace, ACCOUNT, tmp_path)
    with pytest.raises(NoConnection) as caught:
        KubeCluster.from_name(
            "shared",
            namespace=place.namespace,
            kubeconfig=str(limited),
            port_forward_cluster_ip=False,
            quiet=True,
        )
    direct, _, forward = str(caught.value).partition("; and forwarding ports instead failed: ")
    service = f"shared-scheduler.{place.namespace}.svc"
    assert direct.startswith(f"port 8786 of the scheduler's Service is not reachable ({service}: ")
    assert 'cannot get resource "pods/portforward"' in forward
    assert shared.status is Status.running


@pytest.mark.check(9)
@pytest.mark.parametrize("silent", ["versions", "subscribe_worker_status", "get_metadata"])
async def test_a_scheduler_that_accepts_and_never_answers_ends_the_start(silent: str) -> None:
    answers: dict[str, Any] = {"subscribe_worker_status": {"workers": {}}}

    def handler(operation: str) -> Any:
        async def answer(**_: object) -> Any:
            if operation == silent:
                await asyncio.Event().wait()
            return answers.get(operation, {})

        return answer

    operations = ("versions", "subscribe_worker_status", "get_metadata")
    async with Server({name: handler(name) for name in operations}) as server:
        await server.listen("tcp://127.0.0.1:0")
        cluster = KubeCluster("silent", namespace="any", asynchronous=True, quiet=True)
        connection = cluster._session.connection
        way = connection.way = Way(server.address, "127.0.0.1", 1, "/status")
        cluster.scheduler_comm = scheduler_at(way, None)
        if silent == "versions":
            step = connection.answer(cluster.scheduler_comm, cluster.name, 0.5)
        else:
            await connection.answer(cluster.scheduler_comm, cluster.name, 30)
            step = joined(super(KubeCluster, cluster)._start, cluster.name, 0.5)
        with pytest.raises(NoConnection, match=r"the scheduler of silent does not .* 0\.5 s"):
            await step
        await cluster._ending.undo()
