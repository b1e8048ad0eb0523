"""What bad input gets: the task fails at once, with the client's message, without retries."""

from __future__ import annotations

import json
import os
import re
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
    ("no_kubeconfig_at_all", "NoCredentials", "wrong.py"),
    ("no_json", "WrongConnection", "the extra fields of connection no_json are no JSON object"),
    ("two_accesses", "WrongConnection", "sets in_cluster, kube_config_path: one excludes"),
    ("no_permission", "Forbidden", "grants it with the rule {apiGroups: [kubernetes.dask.org]"),
    ("rejected_token", "Unauthorized", "Unauthorized"),
    ("mistakes", "Invalid", "spec.job: is missing"),
    ("no_yaml", "UnreadableFile", "is not valid YAML"),
    ("no_file", "WrongArguments", "there is no file"),
    ("mistakes_in_file", "Invalid", "spec.job: is missing"),
    ("no_yaml_in_file", "UnreadableFile", "job_file files/no_yaml.yaml is not valid YAML"),
    ("wrong_template_in_file", "WrongArguments", "wrong_template.yaml cannot be rendered"),
    ("unknown_name_in_file", "WrongArguments", "'nobody' is undefined"),
    ("two_jobs_in_file", "UnreadableFile", "write one DaskJob; the text has 2 documents"),
    ("two_sources", "WrongArguments", "a manifest has the arguments of its runner"),
    ("wrong_setting", "WrongSettings", "wrokers"),
    ("no_operator", "NotPickedUp", "no operator has picked up"),
    ("no_operator_deferred", "NotPickedUp", "no operator has picked up"),
    ("unknown_image", "ImageFailure", "127.0.0.1:5127/team/unknown:1"),
    ("unknown_image_deferred", "ImageFailure", "127.0.0.1:5127/team/unknown:1"),
    ("private_image", "ImageFailure", "pull secret"),
    ("triggerer_forbidden", "Forbidden", "the triggerer needs it too, not only the workers"),
    ("cluster_no_connection", "Permanent", "create the connection, of type kubernetes"),
    ("cluster_forbidden", "Forbidden", "grants it with the rule {apiGroups: [kubernetes.dask.org]"),
    ("cluster_no_json", "WrongConnection", "the extra fields of connection no_json"),
    ("cluster_mistakes", "Invalid", "spec: is missing"),
    ("cluster_wrong_setting", "WrongSettings", "wrokers"),
    ("delete_forbidden", "Forbidden", "grants it with the rule {apiGroups: [kubernetes.dask.org]"),
    ("sensor_no_connection", "Permanent", "create the connection, of type kubernetes"),
    ("sensor_forbidden", "Forbidden", "grants it with the rule {apiGroups: [kubernetes.dask.org]"),
]


@pytest.fixture(scope="module")
def connections(with_crds: Kubernetes) -> None:
    """Connections that cannot be used: of a user who may do nothing, of none, and with mistakes."""
    kubeconfig = json.loads(with_crds.kubectl("config", "view", "--raw", "--output=json"))
    token = with_crds.kubectl("create", "token", "default", "--namespace=default").strip()
    paths = {"in_cluster": True, "kube_config_path": str(with_crds.kubeconfig)}
    given: dict[str, Any] = {
        "nobody": {"kube_config": _with_token(kubeconfig, token)},
        "rejected": {"kube_config": _with_token(kubeconfig, "not-a-token")},
        "no_json": "kube_config: {}",
        "two_accesses": paths,
    }
    for name, extra in given.items():
        text = {"conn_type": "kubernetes", "extra": extra}
        os.environ[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(text)


def _with_token(kubeconfig: dict[str, Any], token: str) -> dict[str, Any]:
    users = [{**item, "user": {"token": token}} for item in kubeconfig["users"]]
    return {**kubeconfig, "users": users}


@pytest.fixture(scope="module")
def registry(with_crds: Kubernetes, place: str) -> None:
    """A registry in the node, without a single image."""
    kubectl = Kubectl(with_crds, place)
    kubectl("apply", "-f", "-", stdin=json.dumps(registry_pod(with_crds.image("dask"))))
    kubectl("wait", "--for=condition=Ready", "pod/registry", "--timeout=90s")


@pytest.mark.parametrize(("dag_id", "kind", "text"), CASES)
def test_wrong_input_fails_the_task_at_once(
    place: str,
    connections: None,
    registry: None,
    runs: Runs,
    capfd: pytest.CaptureFixture[str],
    dag_id: str,
    kind: str,
    text: str,
) -> None:
    del place, connections, registry
    ran = runs.test(dag_id, "wrong")
    # Airflow breaks the lines of a traceback, also within words.
    output = joined(capfd.readouterr().out)
    assert ran.tasks == {"task": "failed"}
    assert ran.tries == {"task": 1}
    assert kind in output
    assert joined(text) in output


def joined(text: str) -> str:
    """Return a text without white space and the frames of tracebacks."""
    return re.sub(r"[\s│]+", "", text)
