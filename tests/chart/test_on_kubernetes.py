"""A real API server accepts the chart's objects, and grants exactly its rules."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.chart.rendering import Manifest, find, merged, nested, render
from tests.chart.test_values import CHANGES
from tests.cluster.plugin import Kubectl, KubectlFailed, Kubernetes

#: Values without a visible effect on objects.
REMOVING = {"serviceAccount.create", "rbac.create"}


def everything() -> dict[str, Any]:
    """Return all values changed at once, except those that need another API."""
    values: dict[str, Any] = {}
    for change in CHANGES:
        if not change.name.startswith("metrics.") and change.name not in REMOVING:
            values = merged(values, nested(change.name, change.value))
    return values


def as_list(found: list[Manifest]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": found})


@pytest.mark.parametrize("values", [{}, everything()], ids=["defaults", "everything"])
def test_every_object_and_every_field_of_it_is_accepted(
    kubernetes: Kubernetes, namespace: str, values: dict[str, Any]
) -> None:
    found = render(values, f"--namespace={namespace}")
    for item in found:
        # The namespaces of "everything" do not exist; its Roles are as valid in this one.
        if item["kind"] in ("Role", "RoleBinding"):
            item["metadata"]["namespace"] = namespace
    command = ["apply", "--dry-run=server", "--validate=strict", "--filename=-"]
    said = kubernetes.kubectl(*command, stdin=as_list(found))
    assert len(said.splitlines()) == len(found)


def test_pod_is_admitted_where_the_standard_restricted_is_enforced(
    kubernetes: Kubernetes, kubectl: Kubectl, namespace: str
) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    kubernetes.kubectl("label", "namespace", namespace, label)
    deployment = find(render(), "Deployment")
    assert deployment
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "operator"},
        "spec": {**deployment["spec"]["template"]["spec"], "serviceAccountName": "default"},
    }
    said = kubectl("apply", "--dry-run=server", "--filename=-", stdin=json.dumps(pod))
    assert said == "pod/operator created (server dry run)\n"


def test_namespaced_operator_may_work_in_its_namespace_and_in_no_other(
    kubernetes: Kubernetes, kubectl: Kubectl, namespace: str
) -> None:
    found = render({"rbac": {"cluster": False}}, f"--namespace={namespace}")
    kinds = ("ServiceAccount", "Role", "RoleBinding")
    kubectl("apply", "--filename=-", stdin=as_list([o for o in found if o["kind"] in kinds]))
    operator = f"--as=system:serviceaccount:{namespace}:rel-daskjob-operator"

    def may(where: str, *what: str) -> bool:
        try:
            kubernetes.kubectl("auth", "can-i", operator, f"--namespace={where}", *what)
        except KubectlFailed:
            return False
        return True

    assert may(namespace, "create", "pods")
    assert may(namespace, "update", "leases.coordination.k8s.io/daskjob-operator")
    assert not may(namespace, "update", "leases.coordination.k8s.io/another")
    assert not may(namespace, "get", "secrets")
    assert not may(namespace, "create", "pods", "--subresource=exec")
    assert not may("default", "list", "pods")
