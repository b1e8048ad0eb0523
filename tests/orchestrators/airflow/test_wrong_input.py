"""What bad input gets: the task fails at once, with the client's message, without retries."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.cluster.plugin import Kubectl, Kubernetes
from tests.orchestrators.airflow.runs import Runs
from tests.why.registry import registry_pod

#: The name of the DAG, the class of the error, and what its message contains.
CASES = [
    ("no_connection", "Permanent", "create the connection, of type kubernetes"),
    ("no_kubeconfig", "NoCredentials", "/nonexistent/kubeconfig does not exist"),
    ("no_context", "NoCredentials", "there is no context 'nowhere'; existing contexts:"),
    ("no_permission", "Forbidden", "grants it with the rule {apiGroups: [kubernetes.dask.org]"),
    ("mistakes", "Invalid", "spec.job: is missing"),
    ("no_yaml", "UnreadableFile", "is not valid YAML"),
    ("no_file", "WrongArguments", "there is no file"),
    ("two_sources", "WrongArguments", "a manifest has the arguments of its runner"),
    ("wrong_setting", "WrongSettings", "wrokers"),
    ("no_operator", "NotPickedUp", "no operator has picked up"),
    ("no_operator_deferred", "NotPickedUp", "no operator has picked up"),
    ("unknown_image", "ImageFailure", "127.0.0.1:5127/team/unknown:1"),
    ("unknown_image_deferred", "ImageFailure", "127.0.0.1:5127/team/unknown:1"),
    ("private_image", "ImageFailure", "pull secret"),
]


@pytest.fixture
def nobody(with_crds: Kubernetes) -> None:
    """A connection of a user who may do nothing."""
    kubeconfig = json.loads(with_crds.kubectl("config", "view", "--raw", "--output=json"))
    token = with_crds.kubectl("create", "token", "default", "--namespace=default").strip()
    for item in kubeconfig["users"]:
        item["user"] = {"token": token}
    text: dict[str, Any] = {"conn_type": "kubernetes", "extra": {"kube_config": kubeconfig}}
    os.environ["AIRFLOW_CONN_NOBODY"] = json.dumps(text)


@pytest.fixture(scope="module")
def registry(with_crds: Kubernetes, place: str) -> None:
    """A registry in the node, without a single image."""
    kubectl = Kubectl(with_crds, place)
    kubectl("apply", "-f", "-", stdin=json.dumps(registry_pod(with_crds.image("dask"))))
    kubectl("wait", "--for=condition=Ready", "pod/registry", "--timeout=90s")


@pytest.mark.parametrize(("dag_id", "kind", "text"), CASES)
def test_wrong_input_fails_the_task_at_once(
    place: str,
    nobody: None,
    registry: None,
    runs: Runs,
    capfd: pytest.CaptureFixture[str],
    dag_id: str,
    kind: str,
    text: str,
) -> None:
    del place, nobody, registry
    ran = runs.test(dag_id, "wrong")
    output = capfd.readouterr().out
    assert ran.tasks == {"task": "failed"}
    assert ran.tries == {"task": 1}
    assert kind in output
    assert text in output
