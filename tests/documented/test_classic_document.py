"""The page of the classic KubeCluster: pods alone, without the operator."""

from __future__ import annotations

import os
from collections.abc import Callable

import dask.config
import pytest
import yaml

from tests.documented.blocks import documented
from tests.documented.session import Session
from tests.waiting import wait_until

SECONDS = 240

pytestmark = pytest.mark.filterwarnings("ignore:Mismatched versions")


def test_quickstart(user: Session) -> None:
    user.python("classic/scale")
    assert "1.0" in user.python("classic/compute")
    assert user.cluster.status.name == "running"
    user.names["client"].close()
    user.cluster.close()

    user.file("classic/worker-spec")
    user.python("classic/from-file")
    computes(user)
    assert len(user.cluster.worker_spec) == 10
    assert {pod.metadata.labels["foo"] for pod in user.cluster.pods()} == {"bar"}
    user.cluster.close()


def test_template_and_link_of_the_configuration(
    user: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.file("classic/worker-spec")
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/me/")
    link = user.value("classic/dashboard-link")
    path = {"kubernetes.worker-template-path": "worker-spec.yml"}
    exec("from daskjob.classic import KubeCluster", user.names)
    with dask.config.set({**path, "distributed.dashboard.link": link}):
        user.python("classic/template-path")
        assert user.cluster.dashboard_link.startswith("/user/me/proxy/")
        assert user.cluster.dashboard_link.endswith("/status")
        user.cluster.scale(1)
        computes(user)


def test_workers_with_a_gpu(user: Session) -> None:
    path = user.file("classic/gpus")
    exec("from daskjob.classic import KubeCluster", user.names)
    exec(f"cluster = KubeCluster({os.fspath(path)!r}, n_workers=1)", user.names)
    selector = "dask.org/component=worker"
    (worker,) = wait_until(lambda: user.kubectl.items("pods", labelSelector=selector), SECONDS)
    (container,) = worker["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert container["args"][0] == "dask-cuda-worker"
    assert container["args"][1] == "$(DASK_SCHEDULER_ADDRESS)"


def computes(user: Session) -> None:
    """Have the cluster compute."""
    with user.cluster.get_client() as client:
        assert client.submit(sum, range(100)).result(timeout=SECONDS) == 4950


def test_role_is_enough_in_a_pod_also_with_the_scheduler_there(
    user: Session, in_pod: Callable[..., str]
) -> None:
    file = user.file("classic/role")
    file.write_text(file.read_text() + user.file("classic/nodes").read_text())
    user.kubectl("apply", "-f", str(file))
    role = yaml.safe_load(file.read_text())["metadata"]["name"]
    user.kubectl("create", "serviceaccount", "daskuser")
    user.kubectl(
        "create", "rolebinding", "daskuser", f"--role={role}", "--serviceaccount=default:daskuser"
    )
    template = documented()["classic/worker-spec"].text
    computed = "print(client.submit(sum, range(100)).result())\nclient.close()\ncluster.close()\n"
    code = documented()["classic/local"].text + computed
    code += documented()["classic/from-file"].text + "client = Client(cluster)\n" + computed
    try:
        log = in_pod("daskuser", code, {"worker-spec.yml": template})
        assert log.count("4950") == 2, log
    finally:
        user.kubectl(
            "delete", "role,rolebinding,serviceaccount", role, "daskuser", "--ignore-not-found"
        )
