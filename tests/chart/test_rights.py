"""The operator has the permissions that it needs, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.rendering import (
    NAMESPACE,
    Manifest,
    find,
    operator,
    rejection,
    render,
    rendered,
)

NAMESPACED: dict[str, Any] = {"rbac": {"cluster": False, "extraRules": []}}
CLUSTER_WIDE: dict[str, Any] = {"rbac": {"extraRules": []}}
#: Cluster-scoped kinds that a chart of an operator might render.
CLUSTER_SCOPED = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "Namespace",
    "PriorityClass",
    "ValidatingAdmissionPolicy",
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
}
ALL = {"get", "list", "watch", "create", "patch", "delete"}
DASK = "kubernetes.dask.org"
#: Roles that Kubernetes aggregates into its own.
USERS = ("rel-daskjob-operator-view", "rel-daskjob-operator-edit")
KINDS = {"daskjobs", "daskclusters", "daskworkergroups", "daskautoscalers"}
#: The allowed verbs by group and resource.
ALLOWED = {
    (DASK, "daskjobs"): ALL - {"create"},
    (DASK, "daskclusters"): ALL,
    (DASK, "daskworkergroups"): ALL,
    (DASK, "daskautoscalers"): ALL,
    (DASK, "daskjobs/status"): {"patch"},
    (DASK, "daskclusters/status"): {"patch"},
    (DASK, "daskworkergroups/status"): {"patch"},
    (DASK, "daskautoscalers/status"): {"patch"},
    ("", "pods"): ALL,
    ("", "services"): {"get", "list", "watch", "create"},
    ("", "configmaps"): {"get", "list", "watch", "create"},
    ("", "events"): {"create", "list"},
}
LEASE = {("coordination.k8s.io", "leases"): {"get", "create", "update"}}


def roles(values: dict[str, Any]) -> list[Manifest]:
    """Return the operator's roles, without those for users, which are not bound here."""
    found = [item for item in render(values) if item["kind"] in ("Role", "ClusterRole")]
    return [role for role in found if role["metadata"]["name"] not in USERS]


def rights(*found: Manifest) -> dict[tuple[str, str], set[str]]:
    """Return the verbs by group and resource."""
    verbs: dict[tuple[str, str], set[str]] = {}
    for rule in (rule for role in found for rule in role["rules"]):
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                verbs.setdefault((group, resource), set()).update(rule["verbs"])
    return verbs


def where(found: list[Manifest]) -> set[tuple[str, str]]:
    """Return kind and namespace of roles and bindings."""
    kinds = ("Role", "RoleBinding")
    return {(o["kind"], o["metadata"]["namespace"]) for o in found if o["kind"] in kinds}


@pytest.mark.parametrize("values", [CLUSTER_WIDE, NAMESPACED], ids=["cluster", "namespaced"])
def test_permissions_are_exactly_these(values: dict[str, Any]) -> None:
    assert rights(*roles(values)) == ALLOWED | LEASE


@pytest.mark.parametrize(
    "values", [{}, {"rbac": {"cluster": False}}], ids=["cluster", "namespaced"]
)
def test_no_rule_has_a_wildcard_a_secret_or_a_way_into_a_pod(values: dict[str, Any]) -> None:
    for (group, resource), verbs in rights(*roles(values)).items():
        assert "*" not in {group, resource, *verbs}
        assert resource != "secrets"
        assert resource.partition("/")[2] in ("", "status")
        assert not verbs & {"bind", "escalate", "impersonate", "deletecollection"}


def test_every_rule_has_a_reason() -> None:
    lines = rendered('{"rbac": {"cluster": false}}').splitlines()
    rules = [number for number, line in enumerate(lines) if line.startswith("  - apiGroups:")]
    assert len(rules) == 9
    for number in rules:
        assert lines[number - 1].startswith("  # "), lines[number]


def test_default_extra_rule_allows_the_documented_plugin_to_annotate_services() -> None:
    services = ("", "services")
    extra = {services: ALLOWED[services] | {"patch"}, ("", "services/status"): {"patch"}}
    assert rights(*roles({})) == ALLOWED | LEASE | extra


def test_only_one_lease_may_be_changed() -> None:
    for values in (CLUSTER_WIDE, NAMESPACED):
        rules = [rule for role in roles(values) for rule in role["rules"]]
        leases = [rule for rule in rules if "leases" in rule["resources"]]
        assert [rule["verbs"] for rule in leases if "resourceNames" not in rule] == [["create"]]
        assert {name for rule in leases for name in rule.get("resourceNames", ())} == {
            "daskjob-operator"
        }


def test_cluster_wide_operator_has_its_lease_in_kube_system_only() -> None:
    found = render()
    assert where(found) == {("Role", "kube-system"), ("RoleBinding", "kube-system")}
    role = find(found, "ClusterRole")
    assert role
    assert ("coordination.k8s.io", "leases") not in rights(role)


def test_lease_of_an_operator_with_a_cluster_role_and_one_namespace_is_in_that() -> None:
    assert where(render({"kopfArgs": ["--namespace=a"]})) == {("Role", "a"), ("RoleBinding", "a")}


def test_namespaced_operator_has_no_object_outside_of_namespaces() -> None:
    found = render({"rbac": {"cluster": False}})
    assert not {item["kind"] for item in found} & CLUSTER_SCOPED
    assert {item["metadata"]["namespace"] for item in found} == {NAMESPACE}


def test_namespaced_operator_watches_the_namespace_of_the_release_instead_of_all() -> None:
    for arguments in (["--all-namespaces"], ["-A"], []):
        found = render({"rbac": {"cluster": False}, "kopfArgs": arguments})
        assert operator(found)["args"][1:] == [f"--namespace={NAMESPACE}"]


def test_documented_installation_in_one_namespace() -> None:
    command = ["--set", "rbac.cluster=false", "--set", "kopfArgs={--namespace=my-namespace}"]
    found = render({}, *command, "--namespace=my-namespace")
    assert {item["metadata"]["namespace"] for item in found} == {"my-namespace"}
    assert {item["kind"] for item in found} == {
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "Deployment",
    }
    assert operator(found)["args"][1:] == ["--namespace=my-namespace"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--namespace=a", "--namespace=b"],
        ["--namespace", "a", "-n", "b"],
        ["-na", "-n=b", "-n=a"],
        ["--namespace=a, b,"],
    ],
    ids=["one word", "two words", "short", "list"],
)
def test_namespaced_operator_has_its_rights_in_every_namespace_that_it_watches(
    arguments: list[str],
) -> None:
    found = render({**NAMESPACED, "kopfArgs": arguments})
    assert where(found) == {(kind, n) for kind in ("Role", "RoleBinding") for n in "ab"}
    assert operator(found)["args"][1:] == arguments
    for binding in (item for item in found if item["kind"] == "RoleBinding"):
        [subject] = binding["subjects"]
        assert subject["namespace"] == NAMESPACE


@pytest.mark.parametrize("pattern", ["team-*", "a,!b", "team-[ab]"])
def test_pattern_of_namespaces_is_watched_with_the_rights_of_a_cluster_wide_operator(
    pattern: str,
) -> None:
    found = render({**CLUSTER_WIDE, "kopfArgs": [f"--namespace={pattern}"]})
    assert where(found) == {("Role", "kube-system"), ("RoleBinding", "kube-system")}


def test_pattern_of_namespaces_without_a_cluster_role_is_rejected_with_a_remedy() -> None:
    said = rejection({**NAMESPACED, "kopfArgs": ["--namespace=team-*"]})
    assert '"team-*"' in said
    assert "set rbac.cluster=true, or give each namespace a --namespace=NAME" in said


def test_no_roles_are_created_if_rbac_is_managed_elsewhere() -> None:
    for cluster in (True, False):
        kinds = {o["kind"] for o in render({"rbac": {"create": False, "cluster": cluster}})}
        assert kinds == {"ServiceAccount", "Deployment"}


@pytest.mark.parametrize("cluster", [True, False])
def test_operator_without_a_lease_has_no_permissions_on_leases(cluster: bool) -> None:
    rbac = {"cluster": cluster, "extraRules": []}
    found = roles({"rbac": rbac, "kopfArgs": ["--no-lease"]})
    assert rights(*found) == ALLOWED
    assert "kube-system" not in {role["metadata"].get("namespace") for role in found}


def test_token_is_in_the_operators_pod_and_in_no_other_of_its_service_account() -> None:
    found = render()
    account, deployment = find(found, "ServiceAccount"), find(found, "Deployment")
    assert account
    assert deployment
    assert account["automountServiceAccountToken"] is False
    assert deployment["spec"]["template"]["spec"]["automountServiceAccountToken"] is True


@pytest.mark.parametrize("more", [{}, {"rbac": {"cluster": False}}], ids=["", "no cluster role"])
def test_operator_of_named_namespaces_has_its_rights_there_and_no_object_elsewhere(
    more: dict[str, Any],
) -> None:
    found = render({**more, "watchNamespaces": ["a", "b"]})
    assert not {item["kind"] for item in found} & CLUSTER_SCOPED
    assert where(found) == {(kind, n) for kind in ("Role", "RoleBinding") for n in "ab"}
    assert operator(found)["args"][1:] == ["--namespace=a", "--namespace=b"]


def test_pattern_is_rejected_as_a_name_of_a_namespace_to_watch() -> None:
    assert "'team-*' does not match pattern" in rejection({"watchNamespaces": ["team-*"]})


def test_view_role_can_read_the_four_kinds_and_change_none() -> None:
    role = find(render(), "ClusterRole", "-view")
    assert role
    assert role["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    given = rights(role)
    assert {resource for _, resource in given if "/" not in resource} == KINDS
    assert set().union(*given.values()) == {"get", "list", "watch"}


def test_edit_role_can_change_and_scale_the_four_kinds_but_no_status() -> None:
    role = find(render(), "ClusterRole", "-edit")
    assert role
    assert role["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    given = rights(role)
    scaled = {"daskclusters/scale", "daskworkergroups/scale"}
    assert {resource for _, resource in given} == KINDS | scaled
    assert given[DASK, "daskjobs"] == {"create", "update", "patch", "delete", "deletecollection"}
    assert given[DASK, "daskclusters/scale"] == {"update", "patch"}


def test_roles_of_users_are_not_bound() -> None:
    bindings = [item for item in render() if item["kind"].endswith("RoleBinding")]
    assert bindings
    assert not {item["roleRef"]["name"] for item in bindings} & set(USERS)
