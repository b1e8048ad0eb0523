"""Every value has its documented effect, and the name and default of dask-kubernetes' chart."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import (
    CHART,
    NAMESPACE,
    at,
    defaults,
    find,
    merged,
    nested,
    notes,
    operator,
    render,
)
from tests.installing.rendered import by_name, rendered_here

Steps = tuple[str | int, ...]

POD: Steps = ("spec", "template", "spec")
CONTAINER: Steps = (*POD, "containers", 0)
LABELS: Steps = ("metadata", "labels")
VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]

#: The values of dask-kubernetes' chart, from its documented table.
DOCUMENTED: dict[str, Any] = {
    "image.name": "ghcr.io/dask/dask-kubernetes-operator",
    "image.tag": "set-by-chartpress",
    "image.pullPolicy": "IfNotPresent",
    "imagePullSecrets": [],
    "nameOverride": "",
    "fullnameOverride": "",
    "serviceAccount.create": True,
    "serviceAccount.annotations": {},
    "serviceAccount.name": "",
    "rbac.create": True,
    "rbac.cluster": True,
    "podAnnotations": {},
    "podSecurityContext": {},
    "securityContext.capabilities.drop": ["ALL"],
    "securityContext.runAsNonRoot": True,
    "securityContext.runAsUser": 1000,
    "securityContext.allowPrivilegeEscalation": False,
    "securityContext.readOnlyRootFilesystem": True,
    "resources": {},
    "volumes": [],
    "volumeMounts": [],
    "nodeSelector": {},
    "tolerations": [],
    "affinity": {},
    "priorityClassName": None,
    "kopfArgs": ["--all-namespaces"],
    "metrics.scheduler.enabled": False,
    "metrics.scheduler.serviceMonitor.enabled": False,
    "metrics.scheduler.serviceMonitor.namespace": "",
    "metrics.scheduler.serviceMonitor.namespaceSelector": {},
    "metrics.scheduler.serviceMonitor.additionalLabels": {},
    "metrics.scheduler.serviceMonitor.interval": "15s",
    "metrics.scheduler.serviceMonitor.jobLabel": "",
    "metrics.scheduler.serviceMonitor.targetLabels": ["dask.org/cluster-name"],
    "metrics.scheduler.serviceMonitor.metricRelabelings": [],
    "metrics.worker.enabled": False,
    "metrics.worker.podMonitor.enabled": False,
    "metrics.worker.podMonitor.namespace": "",
    "metrics.worker.podMonitor.namespaceSelector": {},
    "metrics.worker.podMonitor.additionalLabels": {},
    "metrics.worker.podMonitor.interval": "15s",
    "metrics.worker.podMonitor.jobLabel": "",
    "metrics.worker.podMonitor.podTargetLabels": [
        "dask.org/cluster-name",
        "dask.org/workergroup-name",
    ],
    "metrics.worker.podMonitor.metricRelabelings": [],
    "workerAllocation.size": None,
    "workerAllocation.delay": None,
}
#: The image is daskjob's: that of dask-kubernetes would start another operator.
OURS = {"image.name": "daskjob-operator", "image.tag": ""}


@dataclass(frozen=True)
class Change:
    """A value that is not the default, and where its effect must show in the objects."""

    name: str
    value: Any
    #: An object, given by its kind and the end of its name.
    kind: str
    path: Steps
    shown: Any
    suffix: str = ""
    #: Other values that must be set for this one to have an effect.
    given: dict[str, Any] = field(default_factory=dict)


def in_pod(name: str, value: Any, *path: str | int) -> Change:
    """Return a change that shows unchanged in the pod."""
    return Change(name, value, "Deployment", (*POD, *path), value)


def in_container(name: str, value: Any, *path: str | int) -> Change:
    """Return a change that shows unchanged in the container."""
    return Change(name, value, "Deployment", (*CONTAINER, *path), value)


def in_monitor(component: str, kind: str) -> list[Change]:
    """Return the changes that show in a monitor."""
    block = f"metrics.{component}.{kind[0].lower()}{kind[1:]}"
    on = merged(nested(f"metrics.{component}.enabled", True), nested(f"{block}.enabled", True))
    endpoints = "endpoints" if kind == "ServiceMonitor" else "podMetricsEndpoints"
    targets = "targetLabels" if kind == "ServiceMonitor" else "podTargetLabels"
    relabelings = [{"action": "drop", "sourceLabels": ["__name__"], "regex": "python_.*"}]
    name = ("metadata", "name")
    full_name = f"rel-daskjob-operator-{component}"

    def change(key: str, value: Any, *path: str | int, shown: Any = None) -> Change:
        shown = value if shown is None else shown
        return Change(f"{block}.{key}", value, kind, path, shown, component, given=on)

    found = [
        Change(f"metrics.{component}.enabled", True, kind, name, full_name, component,
               given=nested(f"{block}.enabled", True)),
        Change(f"{block}.enabled", True, kind, name, full_name, component,
               given=nested(f"metrics.{component}.enabled", True)),
        change("namespace", "monitoring", "metadata", "namespace"),
        change("additionalLabels", {"prometheus": "main"}, *LABELS, "prometheus", shown="main"),
        change("interval", "1m", "spec", endpoints, 0, "interval"),
        change("jobLabel", "team", "spec", "jobLabel"),
        change(targets, ["team"], "spec", targets),
        change("metricRelabelings", relabelings, "spec", endpoints, 0, "metricRelabelings"),
    ]  # fmt: skip
    if component != "operator":
        found.append(change("namespaceSelector", {"any": True}, "spec", "namespaceSelector"))
    return found


def in_extra(block: str, kind: str) -> list[Change]:
    """Return the changes of the objects in addition to the operator's own monitor."""
    path = f"metrics.operator.{block}"
    on = merged(nested("metrics.operator.enabled", True), nested(f"{path}.enabled", True))
    enabled = nested("metrics.operator.enabled", True)
    return [
        Change(f"{path}.enabled", True, kind, ("metadata", "namespace"), NAMESPACE, given=enabled),
        Change(f"{path}.namespace", "monitoring", kind, ("metadata", "namespace"), "monitoring",
               given=on),
        Change(f"{path}.additionalLabels", {"team": "data"}, kind, (*LABELS, "team"), "data",
               given=on),
    ]  # fmt: skip


NODES = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}]
        }
    }
}
CHANGES = [
    Change("image.name", "mine", "Deployment", (*CONTAINER, "image"), f"mine:{VERSION}"),
    Change("image.tag", "2.0", "Deployment", (*CONTAINER, "image"), "daskjob-operator:2.0"),
    in_container("image.pullPolicy", "Always", "imagePullPolicy"),
    in_pod("imagePullSecrets", [{"name": "registry"}], "imagePullSecrets"),
    Change("nameOverride", "dask", "Deployment", (*LABELS, "app.kubernetes.io/name"), "dask"),
    Change("fullnameOverride", "dask", "Deployment", ("metadata", "name"), "dask"),
    Change("serviceAccount.create", False, "ServiceAccount", (), None),
    Change("serviceAccount.annotations", {"role": "arn"}, "ServiceAccount",
           ("metadata", "annotations"), {"role": "arn"}),
    Change("serviceAccount.name", "other", "ServiceAccount", ("metadata", "name"), "other"),
    Change("rbac.create", False, "ClusterRole", (), None),
    Change("rbac.cluster", False, "Role", ("metadata", "namespace"), NAMESPACE),
    Change("rbac.extraRules", [{"apiGroups": ["networking.istio.io"],
                                "resources": ["virtualservices"], "verbs": ["create"]}],
           "ClusterRole", ("rules", -1, "resources"), ["virtualservices"]),
    Change("rbac.aggregate", False, "ClusterRole", (), None, "-edit"),
    Change("replicas", 2, "Deployment", ("spec", "replicas"), 2),
    Change("podDisruptionBudget.enabled", True, "PodDisruptionBudget",
           ("spec", "maxUnavailable"), 1),
    Change("networkPolicy.enabled", True, "NetworkPolicy", ("spec", "policyTypes"), ["Ingress"]),
    Change("networkPolicy.from", [{"namespaceSelector": {}}], "NetworkPolicy",
           ("spec", "ingress", 0, "from"), [{"namespaceSelector": {}}],
           given=nested("networkPolicy.enabled", True)),
    Change("podAnnotations", {"team": "data"}, "Deployment",
           ("spec", "template", "metadata", "annotations"), {"team": "data"}),
    in_pod("podSecurityContext", {"fsGroup": 2000}, "securityContext"),
    in_container("securityContext.capabilities.drop", ["NET_RAW"],
                 "securityContext", "capabilities", "drop"),
    in_container("securityContext.runAsNonRoot", False, "securityContext", "runAsNonRoot"),
    in_container("securityContext.runAsUser", 2000, "securityContext", "runAsUser"),
    in_container("securityContext.allowPrivilegeEscalation", True,
                 "securityContext", "allowPrivilegeEscalation"),
    in_container("securityContext.readOnlyRootFilesystem", False,
                 "securityContext", "readOnlyRootFilesystem"),
    in_container("securityContext.seccompProfile.type", "Unconfined",
                 "securityContext", "seccompProfile", "type"),
    in_container("resources", {"limits": {"memory": "128Mi"}}, "resources"),
    in_pod("volumes", [{"name": "ca", "configMap": {"name": "ca"}}], "volumes"),
    in_container("volumeMounts", [{"name": "ca", "mountPath": "/ca"}], "volumeMounts"),
    Change("extraEnv", [{"name": "A", "value": "1"}], "Deployment", (*CONTAINER, "env", -1),
           {"name": "A", "value": "1"}),
    in_pod("nodeSelector", {"disktype": "ssd"}, "nodeSelector"),
    in_pod("tolerations", [{"key": "gpu", "operator": "Exists"}], "tolerations"),
    in_pod("affinity", NODES, "affinity"),
    in_pod("priorityClassName", "high", "priorityClassName"),
    in_container("livenessProbe.timeoutSeconds", 30, "livenessProbe", "timeoutSeconds"),
    Change("kopfArgs", ["--namespace=a", "--verbose"], "Deployment", (*CONTAINER, "args"),
           ["--liveness=http://0.0.0.0:8080/healthz", "--namespace=a", "--verbose"]),
    Change("watchNamespaces", ["a"], "Deployment", (*CONTAINER, "args"),
           ["--liveness=http://0.0.0.0:8080/healthz", "--namespace=a"]),
    Change("legacyCommands", False, "Deployment", (*CONTAINER, "env", 0),
           {"name": "DASKJOB_LEGACY_COMMANDS", "value": "false"}),
    Change("istioExcluded", False, "Deployment", (*CONTAINER, "env", 1),
           {"name": "DASKJOB_ISTIO_EXCLUDED", "value": "false"}),
    Change("workerAllocation.size", 1_000_000, "Deployment", (*CONTAINER, "env", 3),
           {"name": "DASKJOB_WORKER_ALLOCATION_SIZE", "value": "1000000"}),
    Change("workerAllocation.delay", 5, "Deployment", (*CONTAINER, "env", 3),
           {"name": "DASKJOB_WORKER_ALLOCATION_DELAY", "value": "5"}),
    *in_extra("prometheusRule", "PrometheusRule"),
    *in_extra("dashboard", "ConfigMap"),
    *in_monitor("operator", "PodMonitor"),
    *in_monitor("scheduler", "ServiceMonitor"),
    *in_monitor("worker", "PodMonitor"),
]  # fmt: skip


def test_values_are_those_whose_effect_is_tested() -> None:
    assert sorted(change.name for change in CHANGES) == sorted(defaults())


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_value_has_its_documented_effect(change: Change) -> None:
    before = render(change.given)
    values = merged(change.given, nested(change.name, change.value))
    after = render(values)
    assert by_name(rendered_here(values)) == by_name(after)
    assert at(find(after, change.kind, change.suffix), *change.path) == change.shown
    assert at(find(before, change.kind, change.suffix), *change.path) != change.shown


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_value_has_its_documented_default(name: str) -> None:
    assert defaults()[name] == OURS.get(name, DOCUMENTED[name])


def test_documented_metrics_of_workers_under_the_name_of_the_prometheus_page_are_scraped() -> None:
    values = {"metrics": {"worker": {"enabled": True, "serviceMonitor": {"enabled": True}}}}
    monitor = find(render(values), "PodMonitor")
    assert at(monitor, "spec", "selector", "matchLabels") == {"dask.org/component": "worker"}


def test_all_values_of_a_release_of_dask_kubernetes_are_accepted() -> None:
    values: dict[str, Any] = {}
    for name, value in DOCUMENTED.items():
        values = merged(values, nested(name, value))
    image = operator(render(values))["image"]
    assert image == "ghcr.io/dask/dask-kubernetes-operator:set-by-chartpress"


def test_schedulers_and_workers_are_scraped_in_the_namespace_of_the_release() -> None:
    on = {
        "metrics": {
            "scheduler": {"enabled": True, "serviceMonitor": {"enabled": True}},
            "worker": {"enabled": True, "podMonitor": {"enabled": True}},
        }
    }
    for kind in ("ServiceMonitor", "PodMonitor"):
        monitor = find(render(on), kind)
        assert at(monitor, "spec", "namespaceSelector") == {"matchNames": [NAMESPACE]}


def test_operator_is_scraped_by_the_labels_and_the_port_of_its_pod() -> None:
    on = {"metrics": {"operator": {"enabled": True, "podMonitor": {"enabled": True}}}}
    found = render(on)
    labels = at(find(found, "Deployment"), "spec", "template", "metadata", "labels")
    monitor = find(found, "PodMonitor")
    assert at(monitor, "spec", "selector", "matchLabels").items() <= labels.items()
    port = at(monitor, "spec", "podMetricsEndpoints", 0, "port")
    assert port in [one["name"] for one in operator(found)["ports"]]


def test_service_account_is_the_named_or_the_default_one_if_none_is_created() -> None:
    account = (*POD, "serviceAccountName")
    values: dict[str, Any] = {"serviceAccount": {"create": False}}
    assert at(find(render(values), "Deployment"), *account) == "default"
    values = {"serviceAccount": {"create": False, "name": "mine"}}
    found = render(values)
    assert at(find(found, "Deployment"), *account) == "mine"
    assert at(find(found, "ClusterRoleBinding"), "subjects", 0, "name") == "mine"


def test_release_with_the_name_of_the_chart_does_not_repeat_it() -> None:
    found = render({"nameOverride": "rel"})
    assert at(find(found, "Deployment"), "metadata", "name") == "rel"


def test_name_override_of_dask_kubernetes_gives_the_labels_that_its_documents_select() -> None:
    found = render({"nameOverride": "dask-kubernetes-operator"})
    assert at(find(found, "Deployment"), "spec", "selector", "matchLabels") == {
        "app.kubernetes.io/name": "dask-kubernetes-operator",
        "app.kubernetes.io/instance": "rel",
    }


def test_user_id_may_be_left_to_the_cluster() -> None:
    assert "runAsUser" not in operator(render({"securityContext": {"runAsUser": None}}))


def test_notes_name_the_watched_namespaces_and_the_next_steps(tmp_path: Path) -> None:
    said = notes({}, tmp_path)
    assert "watches all namespaces" in said
    assert f"--namespace {NAMESPACE} rollout status deployment/rel-daskjob-operator" in said
    assert "kubectl create --filename job.yaml" in said


def test_notes_of_a_namespaced_operator_name_its_namespaces(tmp_path: Path) -> None:
    values = {"rbac": {"cluster": False}, "kopfArgs": ["--namespace=a", "--namespace=b"]}
    said = notes(values, tmp_path)
    assert "watches the namespaces a, b." in said
    assert "kubectl --namespace a create" in said


def test_notes_of_a_pattern_of_namespaces_do_not_use_it_as_a_name(tmp_path: Path) -> None:
    said = notes({"kopfArgs": ["--namespace=team-*"]}, tmp_path)
    assert "watches the namespace team-*." in said
    assert "  kubectl create --filename" in said


def test_notes_name_the_service_account_that_needs_permissions_if_the_chart_creates_none(
    tmp_path: Path,
) -> None:
    said = notes({"rbac": {"create": False}}, tmp_path)
    assert f"{NAMESPACE}/rel-daskjob-operator has the rules in" in said
