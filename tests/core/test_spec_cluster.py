"""The specs of a DaskCluster and a DaskWorkerGroup (design §2.1, §2.2)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from daskjob.core.errors import FieldError, Invalid
from daskjob.core.manifests import Manifest
from daskjob.core.spec import CLASSES, DaskCluster, DaskWorkerGroup, parse
from tests.core.manifests import cluster, container, documented, group, pod


def only_mistake(manifest: Manifest) -> FieldError:
    """The one mistake of a manifest."""
    with pytest.raises(Invalid) as caught:
        parse(CLASSES[manifest["kind"]], manifest)
    assert len(caught.value.errors) == 1, str(caught.value)
    return caught.value.errors[0]


@pytest.mark.parametrize(
    ("name", "expected", "workers"),
    [("cluster", "simple", 2), ("cluster-spec", "example", 2)],
)
def test_the_documented_clusters_parse_without_a_mistake(
    name: str, expected: str, workers: int
) -> None:
    manifest = documented(name)
    before = copy.deepcopy(manifest)
    found = parse(DaskCluster, manifest)
    assert found.meta.name == expected
    assert found.spec.desired_workers == workers
    assert manifest == before


def test_the_documented_worker_group_parses_without_a_mistake() -> None:
    found = parse(DaskWorkerGroup, documented("highmemworkers"))
    assert (found.cluster, found.replicas) == ("simple", 2)


def test_a_cluster_without_replicas_has_1_worker() -> None:
    manifest = cluster()
    del manifest["spec"]["worker"]["replicas"]
    assert parse(DaskCluster, manifest).spec.desired_workers == 1


def test_0_replicas_are_0_workers() -> None:
    manifest = cluster()
    manifest["spec"]["worker"]["replicas"] = 0
    assert parse(DaskCluster, manifest).spec.desired_workers == 0


_MORE = {"name": "gpu", "replicas": 3, "spec": pod(container("worker", "dask-worker"))}


def test_workers_of_additional_groups_are_counted_with_the_default_ones() -> None:
    found = parse(DaskCluster, cluster(workerGroups=[_MORE])).spec
    assert [g.name for g in found.all_groups] == ["default", "gpu"]
    assert found.desired_workers == 5


@pytest.mark.parametrize(
    ("group_of_cluster", "path", "allowed"),
    [
        ({"name": ""}, "name", "a name for the group"),
        ({"name": "default"}, "name", "'default' is reserved"),
        ({"name": "my-scheduler"}, "name", "without the word 'scheduler'"),
        ({"name": "Big"}, "name", "lower-case letters"),
        ({"replicas": -1}, "replicas", "from 0 to 10000"),
        ({"autoscaling": {"minimum": 1}}, "autoscaling.maximum", "the maximum number"),
        (
            {"autoscaling": {"minimum": 3, "maximum": 2}},
            "autoscaling.maximum",
            "at least the minimum, 3",
        ),
        ({"autoscaling": {"maximum": 0}}, "autoscaling.maximum", "from 1 to 10000"),
        ({"spec": {"containers": []}}, "spec.containers", "at least one container"),
    ],
)
def test_an_invalid_group_is_rejected(
    group_of_cluster: dict[str, Any], path: str, allowed: str
) -> None:
    mistake = only_mistake(cluster(workerGroups=[{**_MORE, **group_of_cluster}]))
    assert mistake.path == f"spec.workerGroups[0].{path}"
    assert allowed in mistake.allowed


def test_two_groups_of_one_name_are_rejected() -> None:
    assert only_mistake(cluster(workerGroups=[_MORE, _MORE])).path == "spec.workerGroups[1].name"


def test_a_service_without_port_8786_is_rejected_since_no_worker_could_connect() -> None:
    manifest = cluster()
    manifest["spec"]["scheduler"]["service"] = {"ports": [{"name": "http", "port": 8787}]}
    mistake = only_mistake(manifest)
    assert mistake.path == "spec.scheduler.service.ports"
    assert "8786" in mistake.allowed


@pytest.mark.parametrize("part", ["scheduler", "worker"])
def test_a_cluster_needs_a_scheduler_and_workers(part: str) -> None:
    manifest = cluster()
    del manifest["spec"][part]
    assert only_mistake(manifest).path == f"spec.{part}"


def test_a_group_must_name_its_cluster() -> None:
    assert only_mistake(group(cluster="")).path == "spec.cluster"


@pytest.mark.parametrize(
    ("manifest", "typo", "meant"),
    [
        (cluster(workergroups=[]), "spec.workergroups", "workerGroups"),
        (cluster(idleTimeOut=3), "spec.idleTimeOut", "idleTimeout"),
    ],
)
def test_an_unknown_field_is_reported_with_the_most_similar_one(
    manifest: Manifest, typo: str, meant: str
) -> None:
    mistake = only_mistake(manifest)
    assert mistake.path == typo
    assert f"did you mean {meant!r}?" in mistake.allowed


def test_a_negative_idle_timeout_is_rejected() -> None:
    assert only_mistake(cluster(idleTimeout=-1)).path == "spec.idleTimeout"


def test_a_null_idle_timeout_is_no_timeout() -> None:
    assert parse(DaskCluster, cluster(idleTimeout=None)).spec.idle_timeout_seconds == 0
