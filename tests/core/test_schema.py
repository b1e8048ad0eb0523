"""The CRDs say what specs and statuses say, and nothing is written twice (style 23)."""

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
from daskjob.core.spec.job import NEVER_CHANGES
from daskjob.core.spec.policy import POLICY_FIELDS, Deletion, Restart, RunnerStart
from daskjob.core.status import JobStatusWord
from tests.core.specimens import WRONG
from tests.core.statuses import FULL, FULL_JOB, RECORDS

#: What an annotation holds, and with it the last-applied one of client-side `kubectl apply`.
ANNOTATIONS_LIMIT_BYTES = 262_144
CRDS = {Kind(crd["spec"]["names"]["kind"]): crd for crd in crds()}
KEPT = "x-kubernetes-preserve-unknown-fields"


def version(kind: Kind) -> Manifest:
    """The one version of a kind."""
    (found,) = CRDS[kind]["spec"]["versions"]
    return dict(found)


def schema(kind: Kind, *path: str) -> Manifest:
    """The schema of a field; ``[]`` stands for the items of a list."""
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
    """The paths of all keys of a manifest, down to what is passed through whole."""
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
def test_fullest_status_of_these_tests_leaves_no_field_at_its_default(kind: Kind) -> None:
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


def test_job_status_has_five_words_and_the_empty_one_and_no_other_ever() -> None:
    words = schema(Kind.JOB, "status", "jobStatus")["enum"]
    assert words == [*JobStatusWord, ""]
    assert words == ["JobCreated", "ClusterCreated", "Running", "Successful", "Failed", ""]


def test_frozen_policy_is_made_of_fields_that_the_spec_has() -> None:
    assert FULL_JOB.policy is not None
    assert set(FULL_JOB.policy) == {field.name for field in POLICY_FIELDS}


# Spec


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("failurePolicy", "restart"), Restart),
        (("deletionPolicy", "onSuccess"), Deletion),
        (("runnerStart",), RunnerStart),
    ],
)
def test_words_are_those_of_the_spec(path: tuple[str, ...], words: Any) -> None:
    assert schema(Kind.JOB, "spec", *path)["enum"] == [str(word) for word in words]


def test_failure_rule_speaks_of_every_reason_that_does_not_end_the_job() -> None:
    path = ("spec", "failurePolicy", "rules", "[]", "onReasons", "[]")
    left_out = set(Reason) - set(schema(Kind.JOB, *path)["enum"])
    assert left_out == {
        Reason.DEADLINE_EXCEEDED,
        Reason.CANCELLED,
        Reason.SUSPENDED,
        Reason.INVALID_SPEC,
        Reason.NAME_CONFLICT,
    }


def test_api_server_fills_in_replicas_of_what_is_scaled_and_nothing_else() -> None:
    """Absent means the frozen value, or "nothing overrides a scaled count" in a job."""
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
def test_what_is_kubernetes_own_is_passed_through_whole(kind: Kind, path: tuple[str, ...]) -> None:
    assert schema(kind, "spec", *path)[KEPT]


@pytest.mark.parametrize("kind", CRDS)
def test_field_of_ours_that_nobody_knows_is_not_kept_in_a_spec(kind: Kind) -> None:
    assert KEPT not in schema(kind, "spec")


@pytest.mark.parametrize("kind", CRDS)
def test_every_field_has_a_sentence_for_kubectl_explain(kind: Kind) -> None:
    for path, found in every_schema(kind):
        if path.startswith((".spec", ".status")):
            assert found["description"].endswith("."), path


@pytest.mark.parametrize("kind", CRDS)
def test_every_field_that_may_be_absent_may_be_null(kind: Kind) -> None:
    """Server-side apply drops no nulls. No enumeration can hold one."""
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


def test_every_rule_says_what_to_write_instead() -> None:
    assert all(rule["message"] for rule in rules())


def test_every_rule_is_broken_by_a_manifest_of_these_tests_or_speaks_of_a_change() -> None:
    broken = {wrong.says for wrong in WRONG}
    left = {rule["message"] for rule in rules() if rule["message"] not in broken}
    assert left == {NEVER_CHANGES.says}


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
def test_column_shows_a_field_that_there_is(kind: Kind) -> None:
    for column in version(kind)["additionalPrinterColumns"]:
        path = column["jsonPath"].split(".")[1:]
        if path[0] != "metadata":
            assert schema(kind, *path)["type"] == column["type"], column["name"]


@pytest.mark.parametrize("kind", CRDS)
def test_status_is_a_subresource_and_what_has_workers_is_scaled(kind: Kind) -> None:
    scaled = kind in (Kind.CLUSTER, Kind.GROUP)
    found = version(kind)["subresources"]
    assert found["status"] == {}
    assert ("scale" in found) is scaled
    for path in found.get("scale", {}).values():
        schema(kind, *path.split(".")[1:])


@pytest.mark.parametrize("kind", CRDS)
def test_crd_is_small_enough_for_client_side_apply(kind: Kind) -> None:
    assert len(json.dumps(CRDS[kind])) < ANNOTATIONS_LIMIT_BYTES / 4


def test_crds_are_made_anew_by_every_call() -> None:
    first, second = crds(), crds()
    assert first == second
    first[0]["spec"]["versions"][0]["schema"].clear()
    assert second == crds()
