"""The desired Service, cluster, group and files (design §2.2, §3.1)."""

from __future__ import annotations

import copy
import re

import pytest

from daskjob.core.desired.cluster import job_cluster
from daskjob.core.desired.files import files_config_map
from daskjob.core.desired.group import worker_group
from daskjob.core.desired.pods import dashboard_url
from daskjob.core.desired.service import dashboard_port, scheduler_service
from daskjob.core.desired.workers import worker_pods
from daskjob.core.manifests import Manifest
from daskjob.core.observed import Platform
from tests.core import manifests
from tests.core.manifests import (
    cluster,
    cluster_spec,
    container,
    documented,
    pod,
    read_cluster,
    read_group,
    read_job,
)


def owner(kind: str, name: str) -> Manifest:
    """The controller reference of a child."""
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": kind,
        "name": name,
        "uid": "uid",
        "controller": True,
        "blockOwnerDeletion": False,
    }


def built_service(manifest: Manifest) -> Manifest:
    """The Service of a DaskCluster."""
    manifest["metadata"]["uid"] = "uid"
    return scheduler_service(read_cluster(manifest))


def built_cluster(manifest: Manifest, attempt: int = 0) -> Manifest:
    """The DaskCluster of a DaskJob."""
    manifest["metadata"]["uid"] = "uid"
    job = read_job(manifest)
    return job_cluster(job, job.policy, attempt, Platform())


def built_group(manifest: Manifest, index: int = 0) -> Manifest:
    """One of the DaskWorkerGroups of a DaskCluster."""
    manifest["metadata"]["uid"] = "uid"
    found = read_cluster(manifest)
    return worker_group(found, found.spec.all_groups[index])


def test_the_default_service_of_a_cluster() -> None:
    assert built_service(cluster()) == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "simple-scheduler",
            "namespace": "default",
            "labels": {"dask.org/cluster-name": "simple", "dask.org/component": "scheduler"},
            "ownerReferences": [owner("DaskCluster", "simple")],
        },
        "spec": {
            "type": "ClusterIP",
            "ports": [
                {"name": "tcp-comm", "protocol": "TCP", "port": 8786, "targetPort": 8786},
                {"name": "http-dashboard", "protocol": "TCP", "port": 8787, "targetPort": 8787},
            ],
            "selector": {"dask.org/cluster-name": "simple", "dask.org/component": "scheduler"},
            "publishNotReadyAddresses": True,
        },
    }


def test_the_documented_service_keeps_its_type_and_ports() -> None:
    manifest = documented("cluster")
    spec = built_service(copy.deepcopy(manifest))["spec"]
    given = manifest["spec"]["scheduler"]["service"]
    assert spec["type"] == given["type"] == "NodePort"
    assert spec["ports"] == given["ports"]


def test_the_selector_of_the_manifest_is_replaced() -> None:
    manifest = documented("cluster")
    manifest["metadata"]["name"] = "simple-x7k2p"
    service = manifest["spec"]["scheduler"]["service"]
    service["selector"]["more"] = "than ours"
    service["publishNotReadyAddresses"] = False
    spec = built_service(manifest)["spec"]
    assert spec["selector"] == {
        "dask.org/cluster-name": "simple-x7k2p",
        "dask.org/component": "scheduler",
    }
    assert spec["publishNotReadyAddresses"] is True


def test_the_selector_matches_the_scheduler_of_a_cluster_with_63_characters() -> None:
    service = built_service(cluster(name="a" * 63))
    assert len(service["metadata"]["name"]) == 63
    assert service["spec"]["selector"]["dask.org/cluster-name"] == "a" * 63


@pytest.mark.parametrize(
    ("ports", "found"),
    [
        ([("http-dashboard", 1), ("dashboard", 2)], 1),
        ([("dashboard", 2), ("x", 8787)], 2),
        ([("x", 3)], 8787),
        ([], 8787),
    ],
    ids=["http-dashboard", "dashboard", "neither", "no ports"],
)
def test_the_dashboards_port_is_found_by_name_then_by_number(
    ports: list[tuple[str, int]], found: int
) -> None:
    assert dashboard_port({"ports": [{"name": n, "port": p} for n, p in ports]}) == found


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ([], "/status"),
        (["--dashboard-prefix", "/user/me"], "/user/me/status"),
        (["--dashboard-prefix=user/me/"], "/user/me/status"),
        (["--dashboard-prefix", "/"], "/status"),
    ],
)
def test_a_dashboard_prefix_among_the_arguments_is_part_of_the_url(
    words: list[str], path: str
) -> None:
    manifest = cluster()
    manifest["spec"]["scheduler"]["spec"] = pod(container("scheduler", "dask-scheduler", *words))
    template = read_cluster(manifest).spec.scheduler
    url = dashboard_url(Platform(), "simple", "ns", template, 8787)
    assert url == f"http://simple-scheduler.ns.svc:8787{path}"


def test_the_cluster_of_a_job() -> None:
    manifest = manifests.job()
    spec = copy.deepcopy(manifest["spec"]["cluster"]["spec"])
    assert built_cluster(manifest, attempt=2) == {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {
            "name": "sums",
            "namespace": "default",
            "labels": {"dask.org/cluster-name": "sums"},
            "annotations": {
                "kubernetes.dask.org/job-replicas": "2",
                "kubernetes.dask.org/attempt": "2",
                "kubernetes.dask.org/on-scheduler-loss": "Fail",
            },
            "ownerReferences": [owner("DaskJob", "sums")],
        },
        "spec": spec,
    }


def test_a_cluster_that_outlives_an_attempt_may_replace_its_scheduler() -> None:
    manifest = manifests.job(failurePolicy={"restart": "Runner"})
    annotations = built_cluster(manifest)["metadata"]["annotations"]
    assert annotations["kubernetes.dask.org/on-scheduler-loss"] == "Ignore"


def test_metadata_of_job_and_cluster_reaches_the_cluster_in_their_order() -> None:
    manifest = manifests.job(
        cluster={
            "spec": cluster_spec(),
            "metadata": {"labels": {"a": "cluster"}, "annotations": {"b": "cluster"}},
        }
    )
    manifest["metadata"] |= {
        "labels": {"a": "job", "c": "job", "app.kubernetes.io/instance": "argo"},
        "annotations": {"b": "job", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
    }
    metadata = built_cluster(manifest)["metadata"]
    assert metadata["labels"] == {"a": "cluster", "c": "job", "dask.org/cluster-name": "sums"}
    assert metadata["annotations"]["b"] == "cluster"
    assert "kubectl.kubernetes.io/last-applied-configuration" not in metadata["annotations"]


def test_files_reach_every_group_and_the_scheduler_which_unpickles_the_graphs() -> None:
    spec = cluster_spec(
        workerGroups=[{"name": "gpu", "spec": pod(container("worker", "dask-worker"))}]
    )
    manifest = manifests.job(cluster={"spec": spec})
    manifest["spec"]["job"]["files"] = {"a.py": "1"}
    found = built_cluster(manifest)["spec"]
    volume = {"name": "daskjob-files", "configMap": {"name": "sums-files"}}
    assert found["worker"]["spec"]["volumes"] == [volume]
    assert found["workerGroups"][0]["spec"]["volumes"] == [volume]
    assert found["scheduler"]["spec"]["volumes"] == [volume]


def test_the_config_map_of_the_files() -> None:
    manifest = manifests.job()
    manifest["metadata"]["uid"] = "uid"
    manifest["spec"]["job"]["files"] = {"a.py": "print(1)\n"}
    assert files_config_map(read_job(manifest)) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "sums-files",
            "namespace": "default",
            "labels": {"dask.org/cluster-name": "sums"},
            "ownerReferences": [owner("DaskJob", "sums")],
        },
        "immutable": True,
        "data": {"a.py": "print(1)\n"},
    }


def test_the_default_group_of_a_cluster() -> None:
    manifest = cluster()
    spec = copy.deepcopy(manifest["spec"]["worker"]["spec"])
    found = built_group(manifest)
    template = found["metadata"]["annotations"].pop("kubernetes.dask.org/template")
    assert re.fullmatch(r"[0-9a-f]{16}", template)
    assert found == {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "metadata": {
            "name": "simple-default",
            "namespace": "default",
            "labels": {"dask.org/cluster-name": "simple", "dask.org/component": "workergroup"},
            "annotations": {"kubernetes.dask.org/synced-replicas": "2"},
            "ownerReferences": [owner("DaskCluster", "simple")],
        },
        "spec": {"cluster": "simple", "worker": {"replicas": 2, "spec": spec}},
    }


def test_the_documented_metadata_of_workers_reaches_their_group_and_pods() -> None:
    manifest = cluster()
    manifest["metadata"]["annotations"] = {"hello": "world", "foo": "top"}
    manifest["spec"]["worker"]["metadata"] = {"annotations": {"foo": "bar"}}
    group = built_group(manifest)
    assert {"hello": "world", "foo": "bar"}.items() <= group["metadata"]["annotations"].items()
    [worker] = worker_pods(read_group(group), read_cluster(manifest), ["w"], Platform())
    assert {"hello": "world", "foo": "bar"}.items() <= worker["metadata"]["annotations"].items()


def test_a_default_container_of_the_workers_reaches_their_pods() -> None:
    key = "kubectl.kubernetes.io/default-container"
    manifest = cluster()
    manifest["spec"]["worker"]["spec"] = pod(container("worker"), container("mine"))
    manifest["spec"]["worker"]["metadata"] = {"annotations": {key: "mine"}}
    group = built_group(manifest)
    [worker] = worker_pods(read_group(group), read_cluster(manifest), ["w"], Platform())
    assert worker["metadata"]["annotations"][key] == "mine"


def test_no_builder_changes_its_arguments() -> None:
    job, of = manifests.job(), cluster()
    job["metadata"]["uid"] = of["metadata"]["uid"] = "uid"
    job["spec"]["job"]["files"] = {"a.py": "1"}
    of["spec"]["scheduler"]["service"] = {"ports": [{"name": "tcp-comm", "port": 8786}]}
    before = copy.deepcopy((job, of))
    built_cluster(job)
    files_config_map(read_job(job))
    built_group(of)
    built_service(of)
    assert (job, of) == before


def test_built_objects_share_nothing_with_their_specs() -> None:
    of = cluster()
    group = built_group(of)
    group["spec"]["worker"]["spec"]["containers"].clear()
    assert of["spec"]["worker"]["spec"]["containers"]
