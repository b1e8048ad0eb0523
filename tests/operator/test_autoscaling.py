"""Groups follow the demand of a real scheduler, with the operator as users install it.

While the documented autoscaler waits for its window, in a namespace of its own, other tests run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.plugin import Audited, Kubectl, Kubernetes, WaitFor, fresh_namespace
from tests.operator.clusters import client_pod, documented, fake_cluster, running
from tests.operator.installed import Operator
from tests.operator.jobs import condition, container, ended, pod_spec, python_job, until_only
from tests.waiting import wait_until

Manifest = dict[str, Any]
Apply = Callable[..., None]
Audit = Callable[[], AbstractContextManager[Audited]]

pytestmark = pytest.mark.usefixtures("operator")

#: Tasks that use no CPU; a worker runs only about two at a time.
TASKS = 48
SQUARES = sum(n * n for n in range(TASKS))
COMPUTES = f"""
import os, time
from distributed import Client
def square(n):
    time.sleep(2)
    return n * n
with Client("tcp://simple-scheduler:8786") as client:
    futures = client.map(square, range({TASKS}))
    print("the sum is", sum(client.gather(futures)), flush=True)
    while not os.path.exists("/tmp/again"):
        time.sleep(0.2)
    print("it still is", sum(client.gather(futures)), flush=True)
"""
#: The documented autoscaler's delay before it removes workers, and its polling interval.
WINDOW_SECONDS = 60
INTERVAL_SECONDS = 5


@pytest.fixture
def image(kubernetes: Kubernetes) -> str:
    return kubernetes.image("dask")


def replicas(kubectl: Kubectl, group: str = "simple-default") -> int:
    """Return the number of workers that a group should have."""
    [found] = kubectl.items("daskworkergroups", fieldSelector=f"metadata.name={group}")
    return int(found["spec"]["worker"]["replicas"])


def workers(kubectl: Kubectl, group: str = "simple-default") -> int:
    """Return the number of its worker pods, including terminating ones."""
    selector = f"dask.org/workergroup-name={group},dask.org/component=worker"
    return len(kubectl.there("pods", labelSelector=selector))


def followed(kubectl: Kubectl, true: Callable[[], object], seconds: float) -> set[int]:
    """Wait until a condition is true; return the sizes of the default group until then."""
    sizes: set[int] = set()

    def reached() -> bool:
        if true():
            return True
        sizes.add(replicas(kubectl))
        return False

    wait_until(reached, seconds, lambda: f"{sizes}\n{kubectl('get', 'pods')}", pause=0.3)
    return sizes


@dataclass(frozen=True)
class Documented:
    """The documented autoscaler, with a client that computes and then waits."""

    kubectl: Kubectl
    #: The sizes of the group until the client had its results.
    grown: set[int]
    #: The seconds from then until one worker was left, and the sizes until then.
    shrunk: Future[tuple[float, set[int]]]


@pytest.fixture(scope="module")
def autoscaler(operator: Operator, request: pytest.FixtureRequest) -> Iterator[Documented]:
    """The documented autoscaler, after its tasks; its workers are counted beside the tests."""
    kubernetes = operator.kubernetes
    image = kubernetes.image("dask")
    with fresh_namespace(kubernetes, request.node) as namespace, ThreadPoolExecutor(1) as beside:
        kubectl = Kubectl(kubernetes, namespace)
        kubectl.apply(documented("cluster", image), documented("autoscaler", image))
        kubectl.wait_for("daskcluster", "simple", running, seconds=120)
        kubectl.apply(client_pod(image, COMPUTES))
        kubectl.wait_for("pod", "client", running)
        computed = f"the sum is {SQUARES}"
        grown = followed(kubectl, lambda: computed in kubectl.log("client"), 240)
        yield Documented(kubectl, grown, beside.submit(shrinking, kubectl))


def shrinking(kubectl: Kubectl) -> tuple[float, set[int]]:
    """Wait until one worker is left; return the seconds, and the sizes of the group until then."""
    begun = time.monotonic()
    sizes = followed(kubectl, lambda: replicas(kubectl) == 1, WINDOW_SECONDS + 60)
    return time.monotonic() - begun, sizes


def test_documented_autoscaler_adds_workers_for_tasks(autoscaler: Documented) -> None:
    assert 4 <= max(autoscaler.grown) <= 10


NEEDS_MEMORY = """
from distributed import Client
with Client("tcp://simple-scheduler:8786") as client:
    future = client.submit(sum, [1, 2, 3], resources={"MEMORY": 1})
    print("the sum is", future.result(timeout=150), flush=True)
"""


def test_group_of_a_user_at_0_scales_up_for_a_task_that_needs_its_resources(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    group = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "metadata": {"name": "simple-highmem"},
        "spec": {
            "cluster": "simple",
            "worker": {
                "replicas": 0,
                "spec": pod_spec(
                    container(image, "worker", "dask", "worker", "--resources", "MEMORY=1")
                ),
            },
        },
    }
    follows = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskAutoscaler",
        "metadata": {"name": "highmem"},
        "spec": {
            "cluster": "simple",
            "workerGroup": "simple-highmem",
            "minimum": 0,
            "maximum": 2,
            "scaleDownDelaySeconds": 5,
            "intervalSeconds": 1,
        },
    }
    apply(documented("cluster", image))
    wait_for("daskcluster", "simple", running, seconds=120)
    # After the scheduler: its agent learns about the group with the first request.
    apply(group, follows)
    wait_for("daskautoscaler", "highmem", lambda a: a.get("status", {}).get("desired") == 0)
    apply(client_pod(image, NEEDS_MEMORY))
    wait_for("pod", "client", lambda pod: pod["status"]["phase"] == "Succeeded", seconds=180)
    assert "the sum is 6" in kubectl.log("client").splitlines()
    followed(kubectl, lambda: workers(kubectl, "simple-highmem") == 0, 90)
    assert replicas(kubectl, "simple-highmem") == 0


JOB_COMPUTES = """
import time
from distributed import Client
def square(n):
    time.sleep(2)
    return n * n
with Client() as client:
    print("the sum is", client.submit(sum, client.map(square, range(30))).result())
"""


def test_workers_of_a_job_follow_the_scheduler_and_are_deleted_with_the_job(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    manifest = python_job(image, JOB_COMPUTES, workers=1, dask=True)
    worker = manifest["spec"]["cluster"]["spec"]["worker"]
    worker["autoscaling"] = {"minimum": 1, "maximum": 3}
    apply(manifest)
    wait_for("daskworkergroup", "sums-default", lambda g: g["spec"]["worker"]["replicas"] == 3)
    job = wait_for("daskjob", "sums", ended, seconds=150)
    assert job["status"]["jobStatus"] == "Successful"
    said = kubectl.log("sums-runner").splitlines()
    assert f"the sum is {sum(n * n for n in range(30))}" in said
    kinds = ("daskclusters", "daskworkergroups", "daskautoscalers", "pods")
    until_only(kubectl, "pod/sums-runner", kinds=kinds)


def test_group_keeps_its_size_when_its_cluster_stops_autoscaling(
    apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    manifest = fake_cluster(2)
    manifest["spec"]["worker"]["autoscaling"] = {"minimum": 1, "maximum": 3}
    apply(manifest)
    kubectl("wait", "daskautoscaler/simple-default", "--for=create", "--timeout=30s")
    wait_for("daskworkergroup", "simple-default", lambda g: g["spec"]["worker"]["replicas"] == 2)
    no_more = json.dumps({"spec": {"worker": {"autoscaling": None}}})
    kubectl("patch", "daskcluster", "simple", "--type=merge", f"--patch={no_more}")
    kubectl("wait", "daskautoscaler/simple-default", "--for=delete", "--timeout=30s")
    followed(kubectl, lambda: workers(kubectl) == 2, 30)
    assert replicas(kubectl) == 2


def test_documented_autoscaler_removes_workers_after_its_window(
    autoscaler: Documented, operator: Operator, audit: Audit
) -> None:
    kubectl = autoscaler.kubectl
    waited, sizes = autoscaler.shrunk.result()
    # The demand falls while the last tasks run, shortly before the client gets its results.
    assert waited >= WINDOW_SECONDS - 4 * INTERVAL_SECONDS, f"{waited:.0f} s: {sizes}"
    followed(kubectl, lambda: workers(kubectl) == 1, 90)
    # The results of the removed workers are still there.
    kubectl("exec", "client", "--", "touch", "/tmp/again")
    kubectl.wait_for("pod", "client", lambda pod: pod["status"]["phase"] == "Succeeded", seconds=60)
    assert f"it still is {SQUARES}" in kubectl.log("client")
    # And none of them were computed again.
    assert "caused the cluster to lose" not in kubectl("logs", "simple-scheduler")

    found = kubectl.wait_for("daskautoscaler", "simple", lambda a: a["status"].get("current") == 1)
    assert (found["status"]["desired"], found["status"]["reason"]) == (1, "FewerWanted")
    assert condition(found, "ScalingActive")["status"] == "True"
    [owner] = found["metadata"]["ownerReferences"]
    assert (owner["name"], owner.get("controller", False)) == ("simple", False)
    synced = kubectl.wait_for(
        "daskcluster", "simple", lambda c: c["status"].get("syncedReplicas") == 1
    )
    assert synced["spec"]["worker"]["replicas"] == 1

    # The scheduler is still asked every 5 s, but that is not a request to the API server.
    time.sleep(10)
    with audit() as audited:
        time.sleep(3 * INTERVAL_SECONDS)
    assert [str(r) for r in operator.asked(audited, kubectl.namespace)] == []
