"""The CRDs match specs and statuses, and every fact is declared once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest

from daskjob.core.manifests import Manifest
from daskjob.core.names import Kind
from daskjob.core.reasons import Reason
from daskjob.core.schema import crds
from daskjob.core.shapes import Many, Record, Shape
from daskjob.core.spec.job import IMMUTABLE
from daskjob.core.spec.policy import POLICY_FIELDS, Deletion, Restart, RunnerStart
from daskjob.core.status import JobStatusWord
from tests.core.specimens import WRONG
from tests.core.statuses import FULL, FULL_JOB, RECORDS

#: The limit of annotations, and so of last-applied by client-side `kubectl apply`.
ANNOTATIONS_LIMIT_BYTES = 262_144
CRDS = {Kind(crd["spec"]["names"]["kind"]): crd for crd in crds()}
KEPT = "x-kubernetes-preserve-unknown-fields"


def version(kind: Kind) -> Manifest:
    """The one version of a kind."""
    (found,) = CRDS[kind]["spec"]["versions"]
    return dict(found)


def schema(kind: Kind, *path: str) -> Manifest:
    """The schema of a field; ``[]``: the items of a list."""
    found: Manifest = version(kind)["schema"]["openAPIV3Schema"]
    for key in path:
        found = found["items"] if key == "[]" else found["properties"][key]
    return found


def every_schema(kind: Kind) -> Iterator[tuple[str, Manifest]]:
    """Every schema of a kind, with its path."""
    waiting = [("", schema(kind))]
    while waiting:
        path, found = waiting.pop()
        yield path, found
        waiting += [(f"{path}.{key}", below) for key, below in found.get("properties", {}).items()]
        if "items" in found:
            waiting.append((f"{path}[]", found["items"]))


def keys(value: object, path: str = "") -> set[str]:
    """The paths of all keys of a manifest, except in values that are passed through."""
    if path in (".result", ".report", ".policy"):
        return set()
    if isinstance(value, dict):
        below = [keys(item, f"{path}.{key}") for key, item in value.items()]
        return {f"{path}.{key}" for key in value}.union(*below)
    if isinstance(value, list):
        return set().union(*(keys(item, f"{path}[]") for item in value))
    return set()


def named(shape: Shape, path: str = "") -> set[str]:
    """The paths of all fields that a shape names."""
    if isinstance(shape, Record):
        below = [named(field, f"{path}.{field.name}") for field in shape.fields]
        return {f"{path}.{field.name}" for field in shape.fields}.union(*below)
    if isinstance(shape, Many):
        return named(shape.of, f"{path}[]")
    return set()


# Status


@pytest.mark.parametrize("kind", FULL)
def test_full_status_of_these_tests_has_no_field_at_its_default(kind: Kind) -> None:
    status: Any = FULL[kind]
    for field in dataclasses.fields(status):
        assert getattr(status, field.name) != field.default, field.name


@pytest.mark.parametrize("kind", FULL)
def test_schema_names_every_field_that_a_status_writes_and_no_other(kind: Kind) -> None:
    assert named(RECORDS[kind]) == keys(FULL[kind].to_manifest())
    assert set(schema(kind, "status")["properties"]) == set(RECORDS[kind].names)


@pytest.mark.parametrize("kind", FULL)
def test_fields_of_a_newer_status_are_kept_since_helm_never_upgrades_a_crd(kind: Kind) -> None:
    assert schema(kind, "status")[KEPT]


def test_job_status_has_five_values_and_the_empty_one() -> None:
    values = schema(Kind.JOB, "status", "jobStatus")["enum"]
    assert values == [*JobStatusWord, ""]
    assert values == ["JobCreated", "ClusterCreated", "Running", "Successful", "Failed", ""]


def test_frozen_policy_is_made_of_fields_that_the_spec_has() -> None:
    assert FULL_JOB.policy is not None
    assert set(FULL_JOB.policy) == {field.name for field in POLICY_FIELDS}


# Spec


@pytest.mark.parametrize(
    ("path", "enum"),
    [
        (("failurePolicy", "restart"), Restart),
        (("deletionPolicy", "onSuccess"), Deletion),
        (("runnerStart",), RunnerStart),
    ],
)
def test_enums_are_those_of_the_spec(path: tuple[str, ...], enum: Any) -> None:
    assert schema(Kind.JOB, "spec", *path)["enum"] == [str(member) for member in enum]


def test_failure_rule_may_list_every_reason_that_does_not_end_the_job() -> None:
    path = ("spec", "failurePolicy", "rules", "[]", "onReasons", "[]")
    left_out = set(Reason) - set(schema(Kind.JOB, *path)["enum"])
    assert left_out == {
        Reason.DEADLINE_EXCEEDED,
        Reason.CANCELLED,
        Reason.SUSPENDED,
        Reason.INVALID_SPEC,
        Reason.NAME_CONFLICT,
    }


def test_api_server_defaults_replicas_of_scaled_kinds_and_nothing_else() -> None:
    """Elsewhere absent has a meaning: the frozen value, or in a job the scaled count."""
    defaults = {
        f"{kind}{path}": found["default"]
        for kind in CRDS
        for path, found in every_schema(kind)
        if "default" in found
    }
    assert defaults == {
        "DaskCluster.spec.worker.replicas": 1,
        "DaskWorkerGroup.spec.worker.replicas": 1,
    }


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (Kind.JOB, ("job", "spec")),
        (Kind.JOB, ("job", "metadata")),
        (Kind.JOB, ("cluster", "metadata")),
        (Kind.JOB, ("cluster", "status")),
        (Kind.JOB, ("cluster", "spec", "worker", "spec")),
        (Kind.JOB, ("cluster", "spec", "workerGroups", "[]", "spec")),
        (Kind.JOB, ("cluster", "spec", "scheduler", "spec")),
        (Kind.JOB, ("cluster", "spec", "scheduler", "service")),
        (Kind.CLUSTER, ("scheduler", "service", "ports", "[]")),
        (Kind.CLUSTER, ("worker", "spec", "containers", "[]")),
        (Kind.CLUSTER, ("worker", "spec", "containers", "[]", "env", "[]")),
        (Kind.GROUP, ("worker", "spec")),
    ],
)
def test_kubernetes_own_types_are_passed_through_unchanged(
    kind: Kind, path: tuple[str, ...]
) -> None:
    assert schema(kind, "spec", *path)[KEPT]


@pytest.mark.parametrize("kind", CRDS)
def test_unknown_field_of_ours_is_not_kept_in_a_spec(kind: Kind) -> None:
    assert KEPT not in schema(kind, "spec")


@pytest.mark.parametrize("kind", CRDS)
def test_every_field_has_a_sentence_for_kubectl_explain(kind: Kind) -> None:
    for path, found in every_schema(kind):
        if path.startswith((".spec", ".status")):
            assert found["description"].endswith("."), path


@pytest.mark.parametrize("kind", CRDS)
def test_every_field_that_may_be_absent_may_be_null(kind: Kind) -> None:
    """Server-side apply keeps nulls. An enum cannot hold one."""
    for path, found in every_schema(kind):
        for name, below in found.get("properties", {}).items():
            if not path.startswith((".spec", ".status")) or name in found.get("required", ()):
                continue
            assert below.get("nullable") or "enum" in below or "default" in below, f"{path}.{name}"


# Rules


def rules() -> list[Manifest]:
    """Every rule of every kind."""
    return [
        rule
        for kind in CRDS
        for _, found in every_schema(kind)
        for rule in found.get("x-kubernetes-validations", ())
    ]


def test_every_rule_has_a_message() -> None:
    assert all(rule["message"] for rule in rules())


def test_every_rule_is_broken_by_a_manifest_of_these_tests_or_is_about_a_change() -> None:
    broken = {wrong.message for wrong in WRONG}
    left = {rule["message"] for rule in rules() if rule["message"] not in broken}
    assert left == {IMMUTABLE.message}


# Names, columns, sizes


@pytest.mark.parametrize(
    ("kind", "plural", "short"),
    [
        (Kind.JOB, "daskjobs", ["djb"]),
        (Kind.CLUSTER, "daskclusters", ["daskcluster", "dsk"]),
        (Kind.GROUP, "daskworkergroups", ["daskworkers"]),
        (Kind.AUTOSCALER, "daskautoscalers", None),
    ],
)
def test_names_are_the_documented_ones(kind: Kind, plural: str, short: list[str] | None) -> None:
    found = CRDS[kind]["spec"]["names"]
    assert CRDS[kind]["metadata"]["name"] == f"{plural}.kubernetes.dask.org"
    assert (found["plural"], found["singular"]) == (plural, kind.lower())
    assert found.get("shortNames") == short
    assert found["categories"] == ["dask"]


@pytest.mark.parametrize(
    ("kind", "columns", "wide"),
    [
        (
            Kind.JOB,
            ["Status", "Reason", "Progress", "Workers", "Attempts", "Age"],
            ["Cluster", "Runner", "Exit"],
        ),
        (Kind.CLUSTER, ["Workers", "Ready", "Status", "Age"], []),
        (Kind.GROUP, ["Cluster", "Workers", "Ready", "Age"], []),
        (Kind.AUTOSCALER, ["Cluster", "Minimum", "Maximum", "Desired", "Age"], []),
    ],
)
def test_columns_are_those_of_the_design(kind: Kind, columns: list[str], wide: list[str]) -> None:
    found = version(kind)["additionalPrinterColumns"]
    assert [c["name"] for c in found if not c.get("priority")] == columns
    assert [c["name"] for c in found if c.get("priority")] == wide


@pytest.mark.parametrize("kind", CRDS)
def test_column_shows_an_existing_field(kind: Kind) -> None:
    for column in version(kind)["additionalPrinterColumns"]:
        path = column["jsonPath"].split(".")[1:]
        if path[0] != "metadata":
            assert schema(kind, *path)["type"] == column["type"], column["name"]


@pytest.mark.parametrize("kind", CRDS)
def test_status_is_a_subresource_and_kinds_with_workers_are_scaled(kind: Kind) -> None:
    scaled = kind in (Kind.CLUSTER, Kind.GROUP)
    found = version(kind)["subresources"]
    assert found["status"] == {}
    assert ("scale" in found) is scaled
    for path in found.get("scale", {}).values():
        schema(kind, *path.split(".")[1:])


@pytest.mark.parametrize("kind", CRDS)
def test_crd_is_small_enough_for_client_side_apply(kind: Kind) -> None:
    assert len(json.dumps(CRDS[kind])) < ANNOTATIONS_LIMIT_BYTES / 4


def test_every_call_returns_new_crds() -> None:
    first, second = crds(), crds()
    assert first == second
    first[0]["spec"]["versions"][0]["schema"].clear()
    assert second == crds()
