"""For how many workers a script's first client waits, and which are reported as missing."""

from __future__ import annotations

from typing import Any

import pytest

from daskjob.backends.local.worker_start import (
    Failed,
    WorkerStart,
    expected_workers,
    worker_counts,
)
from daskjob.core.manifests import Manifest
from daskjob.core.pods import ContainerFacts, PodFacts, pod_facts
from daskjob.core.spec import DaskJob, parse
from tests.cli.command import job


def group(replicas: int, *, words: tuple[str, ...] = (), name: str = "a-default") -> Manifest:
    container = {"name": "worker", "args": ["dask", "worker", *words]}
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
        "spec": {
            "cluster": "a",
            "worker": {"replicas": replicas, "spec": {"containers": [container]}},
        },
    }


def worker(*, restarts: int, ready: bool = False, group: str = "a-default") -> Manifest:
    container = {"name": "worker", "restartCount": restarts, "state": {"running": {}}}
    if restarts:
        container["lastState"] = {"terminated": {"exitCode": 2}}
    owner = {"kind": "DaskWorkerGroup", "name": group, "uid": f"uid-{group}", "controller": True}
    return {
        "kind": "Pod",
        "metadata": {
            "name": "a-worker",
            "namespace": "default",
            "uid": "p",
            "labels": {"dask.org/component": "worker"},
            "ownerReferences": [owner],
        },
        "spec": {"containers": [{"name": "worker"}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [container],
        },
    }


AUTOSCALER: Manifest = {
    "kind": "DaskAutoscaler",
    "spec": {"cluster": "a", "minimum": 1, "maximum": 8},
}


@pytest.mark.parametrize(
    ("objects", "expected", "failed"),
    [
        ([], 0, Failed()),
        ([group(3)], 3, Failed()),
        ([group(3), worker(restarts=0)], 3, Failed()),
        ([group(3), worker(restarts=1)], 3, Failed()),
        ([group(3), worker(restarts=2)], 2, Failed(1, 2)),
        ([group(3), worker(restarts=5, ready=True)], 3, Failed()),
        ([group(1), worker(restarts=9), worker(restarts=9)], 0, Failed(2, 2)),
        ([group(2, words=("--nworkers", "4"))], 8, Failed()),
        ([group(2), group(3, name="a-big")], 5, Failed()),
        ([group(2), group(1, name="a-b"), worker(restarts=2, group="a-b")], 2, Failed(1, 2)),
        ([group(4), AUTOSCALER], 1, Failed()),
        ([group(0)], 0, Failed()),
    ],
)
def test_workers_that_keep_failing_are_not_waited_for(
    objects: list[Manifest], expected: int, failed: Failed
) -> None:
    assert worker_counts(objects) == (expected, failed)


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ({}, 2),
        ({"workerGroups": [{"name": "b", "replicas": 3, "spec": {"containers": [{}]}}]}, 5),
    ],
)
def test_all_groups_of_a_job_are_expected(cluster: dict[str, Any], expected: int) -> None:
    for found in cluster.get("workerGroups", ()):
        found["spec"]["containers"] = [{"name": "worker", "args": ["dask", "worker"]}]
    spec = parse(DaskJob, job("pass", workers=2, cluster=cluster)).cluster
    assert spec is not None
    assert expected_workers(spec) == expected


def test_workers_that_are_missing_are_reported_once_for_each_scheduler() -> None:
    start = WorkerStart()
    first, second = (scheduler(number) for number in ("1", "2"))
    assert start.message(first, {"open": False, "expected": 4, "missing": 0}, Failed()) == ""
    assert start.is_pending(first)
    message = start.message(first, {"open": True, "expected": 4, "missing": 1}, Failed())
    assert message.startswith("1 of 4 workers did not come within 90 s; the script continues with")
    assert not start.is_pending(first)
    assert start.is_pending(second)
    message = start.message(second, {"open": True, "expected": 1, "missing": 0}, Failed(1, 2))
    assert message.startswith("1 worker failed to start (exit code 2)")


def scheduler(container: str) -> PodFacts:
    facts = pod_facts(worker(restarts=0))
    main = ContainerFacts(name="scheduler", container_id=container)
    return PodFacts(ref=facts.ref, main=main)
