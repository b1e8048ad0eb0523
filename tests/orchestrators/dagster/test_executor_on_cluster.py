"""The executor starts a KubeCluster for a run: its steps run in the pods of workers."""

from __future__ import annotations

import signal
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from dagster import DagsterInstance, execute_job, reconstructable

from daskjob.kubecluster.specs import make_cluster_spec
from tests.cluster.plugin import ROOT, Kubectl, Kubernetes
from tests.kubecluster.conftest import started_operator
from tests.orchestrators.dagster import dask_job
from tests.orchestrators.dagster.test_pipes import log_of
from tests.orchestrators.images import dask_image

#: Dagster warns of what itself uses.
pytestmark = pytest.mark.filterwarnings("default")

SMALL = {"requests": {"cpu": "50m", "memory": "200Mi"}, "limits": {"memory": "600Mi"}}
SITE = sysconfig.get_paths()["purelib"]


def with_dagster(pod: dict[str, Any], home: Path) -> None:
    """Give a pod the packages, the code and the storage of this process: the image has none."""
    folders = {"source": str(ROOT), "site": SITE, "home": str(home)}
    pod["volumes"] = [{"name": n, "hostPath": {"path": path}} for n, path in folders.items()]
    (container,) = pod["containers"]
    container["imagePullPolicy"] = "IfNotPresent"
    container["securityContext"] = {"runAsUser": 0}
    # A step is found by the path of its file.
    container["volumeMounts"] = [
        {"name": name, "mountPath": path, "readOnly": name != "home"}
        for name, path in folders.items()
    ]
    container.setdefault("env", []).extend(
        [
            {"name": "PYTHONPATH", "value": f"{ROOT}:{SITE}"},
            {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
            {"name": "DAGSTER_HOME", "value": str(home)},
            {"name": "HOME", "value": "/tmp"},
        ]
    )


def test_the_steps_of_a_run_run_in_the_pods_of_its_kubecluster(
    with_crds: Kubernetes,
    namespace: str,
    home: Path,
    instance: DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(with_crds.kubeconfig))
    image = dask_image(with_crds)
    spec = make_cluster_spec("run", image=image, n_workers=1, resources=SMALL)
    for part in ("scheduler", "worker"):
        with_dagster(spec["spec"][part]["spec"], home)
    config = {
        "namespace": namespace,
        "cluster": {"custom_cluster_spec": spec, "resource_timeout": 300},
    }
    operator = started_operator(with_crds, namespace, tmp_path / "operator.log")
    try:
        with execute_job(
            reconstructable(dask_job.sums),
            instance=instance,
            run_config={"execution": {"config": config}},
            raise_on_error=False,
        ) as result:
            log = log_of(instance, result.run_id)
            assert result.success, log
            assert result.output_for_node("both") == 10
        left = Kubectl(with_crds, namespace).there("daskclusters")
    finally:
        operator.send_signal(signal.SIGTERM)
        operator.wait(60)
    # The name of the run is that of its cluster; its worker names the pod.
    assert f"total 10 on sums-{result.run_id[:8]}-default-worker-" in log
    assert left == []
