"""prefect-dask's own task runner with a KubeCluster, which a deployment names as text."""

from __future__ import annotations

import json
import sysconfig
from typing import Any

import pytest

from daskjob.kubecluster.specs import make_cluster_spec
from tests.cluster.plugin import ROOT, Kubectl, Kubernetes
from tests.kubecluster.permissions import ACCOUNT, apply_role
from tests.orchestrators.prefect.conftest import SMALL, Place

#: All pods have the packages of this environment, since the image has no Prefect.
FOLDERS = {"source": str(ROOT), "site": sysconfig.get_paths()["purelib"]}


def with_prefect(pod: dict[str, Any]) -> dict[str, Any]:
    """Give a pod the packages of this environment."""
    pod["volumes"] = [{"name": n, "hostPath": {"path": path}} for n, path in FOLDERS.items()]
    (container,) = pod["containers"]
    container["securityContext"] = {"runAsUser": 0}
    container["volumeMounts"] = [
        {"name": name, "mountPath": f"/{name}", "readOnly": True} for name in FOLDERS
    ]
    container.setdefault("env", []).extend(
        [
            {"name": "PYTHONPATH", "value": "/source:/site"},
            {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
            {"name": "HOME", "value": "/tmp"},
        ]
    )
    return pod


def flow_pod(image: str, cluster: dict[str, Any]) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image,
        "command": ["python", "-m", "tests.orchestrators.prefect.in_pod"],
        "workingDir": "/source",
        "env": [
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "PREFECT_API_URL", "value": "http://$(IP):4200/api"},
            {"name": "CLUSTER", "value": json.dumps(cluster)},
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "flow"},
        "spec": with_prefect(
            {
                "serviceAccountName": ACCOUNT,
                "restartPolicy": "Never",
                "containers": [container],
            }
        ),
    }


@pytest.mark.check(45)
def test_tasks_a_subflow_and_a_failure_run_on_the_workers_of_a_kubecluster(
    cluster: Place, with_crds: Kubernetes
) -> None:
    job = cluster.fields["manifest"]["spec"]
    image = job["job"]["spec"]["containers"][0]["image"]
    spec = make_cluster_spec("flow", image=image, n_workers=1, resources=SMALL)
    for part in ("scheduler", "worker"):
        with_prefect(spec["spec"][part]["spec"])
    kubectl = Kubectl(with_crds, cluster.fields["namespace"])
    apply_role(kubectl)
    wanted = {"custom_cluster_spec": spec, "quiet": True, "resource_timeout": 180}
    kubectl("create", "-f", "-", stdin=json.dumps(flow_pod(image, wanted)))
    ended = "jsonpath={.status.phase}=Succeeded"
    kubectl("wait", "pod/flow", f"--for={ended}", "--timeout=400s")
    # After the server's end, Prefect logs that it cannot log there.
    (line,) = [line for line in kubectl("logs", "flow").splitlines() if line.startswith("{")]
    found = json.loads(line)
    assert (found["squares"], found["below"]) == (14, 5)
    assert found["state"] == "Failed"
    assert "no such table" in found["message"]
    # The tasks ran in pods of workers, and both clusters are gone.
    assert "worker" in found["place"]
    assert not kubectl.there("daskclusters")
