"""The operator's pod: its configuration, its probes, and its privileges on the node."""

from __future__ import annotations

from typing import Any

from tests.chart.rendering import Manifest, at, find, operator, render

DEPLOYMENT = ("spec", "template", "spec")


def pod(values: dict[str, Any] | None = None) -> Manifest:
    spec: Manifest = at(find(render(values), "Deployment"), *DEPLOYMENT)
    return spec


def test_pod_meets_the_pod_security_standard_restricted() -> None:
    """Check those rules of the standard that a pod of this kind can violate."""
    spec = pod()
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & spec.keys()
    [container] = spec["containers"]
    assert "hostPort" not in container["ports"][0]
    context = container["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] != 0
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "privileged" not in context


def test_pod_writes_to_no_file() -> None:
    assert operator(render())["securityContext"]["readOnlyRootFilesystem"] is True


def test_operator_serves_the_port_that_is_probed() -> None:
    container = operator(render())
    assert container["args"] == ["--liveness=http://0.0.0.0:8080/healthz", "--all-namespaces"]
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


def test_image_is_started_by_its_own_entrypoint() -> None:
    assert "command" not in operator(render())


def test_environment_has_the_platform_options_and_the_identity_of_the_lease() -> None:
    assert operator(render())["env"] == [
        {"name": "DASKJOB_LEGACY_COMMANDS", "value": "true"},
        {"name": "DASKJOB_ISTIO_EXCLUDED", "value": "true"},
        {"name": "DASKJOB_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
    ]


def test_old_operator_ends_before_a_new_one_starts() -> None:
    spec = at(find(render(), "Deployment"), "spec")
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_standbys_are_replaced_one_by_one() -> None:
    spec = at(find(render({"replicas": 2}), "Deployment"), "spec")
    assert spec["replicas"] == 2
    assert "strategy" not in spec


def test_selectors_match_the_operators_pod() -> None:
    """Check the PodDisruptionBudget and the NetworkPolicy, which also names a port of the pod."""
    on = {"enabled": True}
    found = render({"podDisruptionBudget": on, "networkPolicy": on})
    labels = at(find(found, "Deployment"), "spec", "template", "metadata", "labels")
    budget, policy = find(found, "PodDisruptionBudget"), find(found, "NetworkPolicy")
    assert at(budget, "spec", "selector", "matchLabels").items() <= labels.items()
    assert at(policy, "spec", "podSelector", "matchLabels").items() <= labels.items()
    port = at(policy, "spec", "ingress", 0, "ports", 0, "port")
    assert port in [one["name"] for one in operator(found)["ports"]]


def test_selector_matches_the_pod_and_does_not_depend_on_the_version() -> None:
    deployment = find(render(), "Deployment")
    selector = at(deployment, "spec", "selector", "matchLabels")
    assert selector.items() <= at(deployment, "spec", "template", "metadata", "labels").items()
    assert selector.keys() == {"app.kubernetes.io/name", "app.kubernetes.io/instance"}


def test_every_object_has_the_common_labels_of_helm() -> None:
    on = {
        "metrics": {
            "operator": {"enabled": True, "podMonitor": {"enabled": True}},
            "scheduler": {"enabled": True, "serviceMonitor": {"enabled": True}},
            "worker": {"enabled": True, "podMonitor": {"enabled": True}},
        }
    }
    for item in [*render(on), *render({"rbac": {"cluster": False}})]:
        labels = item["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "daskjob-operator"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"


def test_longest_release_name_gives_names_that_kubernetes_accepts() -> None:
    for item in render({"fullnameOverride": "x" * 62 + "-y"}):
        name = item["metadata"]["name"]
        assert len(name) <= 63 or item["kind"] in ("Role", "RoleBinding", "ClusterRole")
        assert name.startswith("x" * 62)
        assert not name.endswith("-")
