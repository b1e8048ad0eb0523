"""DaskClusters that run, scale and end, with real Dask and the operator as users install it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import pytest

from daskjob.core import names
from daskjob.core.desired.agent import PRELOAD
from daskjob.core.manifests import format_time
from tests.cluster.plugin import Audited, Kubectl, Kubernetes, WaitFor
from tests.operator.clusters import client_pod, cluster, documented, fake_cluster, running
from tests.operator.installed import Operator
from tests.operator.jobs import condition, until_only
from tests.waiting import wait_until

Manifest = dict[str, Any]
Apply = Callable[..., None]
Audit = Callable[[], AbstractContextManager[Audited]]

pytestmark = pytest.mark.usefixtures("operator")

KINDS = ("daskclusters", "daskworkergroups", "daskautoscalers", "pods", "services")


@pytest.fixture
def image(kubernetes: Kubernetes) -> str:
    return kubernetes.image("dask")


def all_ready(workers: int) -> Callable[[Manifest], bool]:
    """Return a check that a cluster or group reports exactly this many ready workers."""

    def true(found: Manifest) -> bool:
        status = found.get("status", {})
        return (status.get("replicas"), status.get("readyReplicas")) == (workers, workers)

    return true


def logged(kubectl: Kubectl, words: str, seconds: float = 90) -> str:
    """Wait until the client has logged a text; return its whole log."""

    def text() -> str:
        return kubectl.log("client")

    wait_until(lambda: words in text(), seconds, text, pause=0.3)
    return text()


def until_nothing_is_left(kubectl: Kubectl, *apart_from: str) -> None:
    until_only(kubectl, *apart_from, kinds=KINDS, seconds=90)


def test_documented_cluster_and_group_run_scale_and_are_deleted_together(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    apply(documented("cluster", image))
    wait_for("daskcluster", "simple", lambda c: running(c) and all_ready(2)(c), seconds=150)
    service = json.loads(kubectl("get", "service", "simple-scheduler", "-o", "json"))
    assert service["spec"]["type"] == "NodePort"
    kubectl("scale", "daskcluster", "simple", "--replicas=3")
    wait_for("daskworkergroup", "simple-default", all_ready(3))
    kubectl("scale", "daskworkergroup", "simple-default", "--replicas=2")
    wait_for("daskcluster", "simple", lambda c: c["spec"]["worker"]["replicas"] == 2)
    wait_for("daskcluster", "simple", all_ready(2))
    log = kubectl.log("simple-scheduler")
    assert f"Creating preload: {PRELOAD}" in log
    assert "daskjob agent: answering" in log
    assert "zlib" not in log

    apply(documented("highmemworkers", image))
    name = documented("highmemworkers", image)["metadata"]["name"]
    group = wait_for("daskworkergroup", name, lambda g: g["metadata"].get("ownerReferences"))
    [owner] = group["metadata"]["ownerReferences"]
    assert (owner["name"], owner.get("controller", False)) == ("simple", False)

    kubectl("delete", "daskcluster", "simple", "--timeout=60s")
    until_nothing_is_left(kubectl)


#: Data that cannot be recomputed: another run would return other bytes.
HOLDS_DATA = """
import hashlib, os, pathlib, time
WORKERS, PIECES = int(os.environ["WORKERS"]), int(os.environ["PIECES"])
from distributed import Client, wait
def unique(n):
    return os.urandom(25_000_000)
def digest(blob):
    return hashlib.sha256(blob).hexdigest()
def digests(client, blobs):
    return client.gather(client.map(digest, blobs, pure=False))
def until(name):
    while not pathlib.Path("/tmp", name).exists():
        time.sleep(0.1)
with Client("tcp://simple-scheduler:8786") as client:
    client.wait_for_workers(WORKERS)
    blobs = client.map(unique, range(PIECES), pure=False)
    wait(blobs)
    before = digests(client, blobs)
    holders = sum(1 for keys in client.has_what().values() if keys)
    print("held by", holders, flush=True)
    until("changed")
    after = digests(client, blobs)
    lost = sum(one != other for one, other in zip(before, after, strict=True))
    # A pod that runs may have a worker that is still on its way to the scheduler.
    client.wait_for_workers(2, timeout=60)
    workers = len(client.scheduler_info(-1)["workers"])
    print("lost", lost, "of", len(blobs), "on", workers, flush=True)
"""


def until_held(kubectl: Kubectl, wait_for: WaitFor, workers: int) -> None:
    """Wait until this many workers hold the data."""
    wait_for("pod", "client", running)
    assert f"held by {workers}" in logged(kubectl, "held by", 120)


def what_is_lost(kubectl: Kubectl) -> str:
    """Have the client check all data; return how much has changed, and which workers hold it."""
    kubectl("exec", "client", "--", "touch", "/tmp/changed")
    text = logged(kubectl, "\nlost ", 120)
    (found,) = [line for line in text.splitlines() if line.startswith("lost ")]
    return found


def test_scaling_down_keeps_every_byte_of_1_gb_that_only_four_workers_had(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    apply(cluster(image, 4))
    wait_for("daskcluster", "simple", all_ready(4), seconds=150)
    # 1 GB in pieces of 25 MB.
    apply(client_pod(image, HOLDS_DATA, WORKERS="4", PIECES="40"))
    until_held(kubectl, wait_for, 4)
    kubectl("scale", "daskcluster", "simple", "--replicas=2")
    wait_for("daskworkergroup", "simple-default", all_ready(2), seconds=120)
    assert what_is_lost(kubectl) == "lost 0 of 40 on 2"


def test_pod_with_two_workers_is_deleted_once_the_data_of_both_is_elsewhere(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    manifest = cluster(image, 2)
    [container] = manifest["spec"]["worker"]["spec"]["containers"]
    container["args"] = ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--nworkers", "2"]
    apply(manifest)
    wait_for("daskcluster", "simple", all_ready(2), seconds=150)
    apply(client_pod(image, HOLDS_DATA, WORKERS="4", PIECES="8"))
    until_held(kubectl, wait_for, 4)
    kubectl("scale", "daskcluster", "simple", "--replicas=1")
    wait_for("daskworkergroup", "simple-default", all_ready(1), seconds=120)
    assert what_is_lost(kubectl) == "lost 0 of 8 on 2"


def test_workers_of_a_changed_template_are_replaced_without_losing_a_byte(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    manifest = cluster(image, 2)
    manifest["spec"]["worker"]["updateStrategy"] = "Retire"
    apply(manifest)
    wait_for("daskcluster", "simple", all_ready(2), seconds=150)
    apply(client_pod(image, HOLDS_DATA, WORKERS="2", PIECES="8"))
    until_held(kubectl, wait_for, 2)
    of = ("get", "pods", "--selector=dask.org/component=worker", "-o", "name")
    before = set(kubectl(*of).split())

    renew(apply, wait_for, manifest, "next")
    kubectl("wait", *before, "--for=delete", "--timeout=60s")
    assert what_is_lost(kubectl) == "lost 0 of 8 on 2"


def renew(apply: Apply, wait_for: WaitFor, manifest: Manifest, release: str) -> None:
    """Change the template of a cluster's workers, and wait until all are from the new one."""
    worker = manifest["spec"]["worker"]
    worker["spec"]["containers"][0]["env"] = [{"name": "RELEASE", "value": release}]
    apply(manifest)
    ready = all_ready(worker["replicas"])
    wait_for("daskworkergroup", "simple-default", lambda g: _is_of(g, release) and ready(g))


def _is_of(group: Manifest, release: str) -> bool:
    """Return whether all workers are from the current template of the group."""
    [container] = group["spec"]["worker"]["spec"]["containers"]
    found = condition(group, "WorkersReady")
    is_new = {"name": "RELEASE", "value": release} in container.get("env", [])
    seen = found.get("observedGeneration") == group["metadata"]["generation"]
    return is_new and seen and found.get("reason") == "AllReady"


#: How often the worker of a running task is replaced: each time takes the half minute in which the
#: task may end by itself.
RENEWALS = 2
#: A task that lasts as long as the test wants, and others whose results are on its worker.
ONE_LONG_TASK = """
import pathlib, time
from distributed import Client, Event, get_worker, wait
def noted(what):
    get_worker().log_event("runs", what)
    return what
def long():
    noted("long")
    Event("end").wait()
    return "its result"
def runs(client):
    return [what for _, what in client.get_events("runs")]
with Client("tcp://simple-scheduler:8786") as client:
    client.wait_for_workers(1)
    others = client.map(noted, range(20), pure=False)
    wait(others)
    future = client.submit(long, pure=False)
    while "long" not in runs(client):
        time.sleep(0.1)
    print("it runs", flush=True)
    while not pathlib.Path("/tmp/changed").exists():
        time.sleep(0.1)
    Event("end").set()
    result, found = future.result(), runs(client)
    print("ended:", result, found.count("long"), len(found), sum(client.gather(others)), flush=True)
"""


def test_long_task_outlives_every_worker_that_is_replaced_under_it(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    manifest = cluster(image, 1)
    manifest["spec"]["worker"]["updateStrategy"] = "Retire"
    # One lost worker is enough for KilledWorker.
    allowed = {"name": "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "value": "0"}
    manifest["spec"]["scheduler"]["spec"]["containers"][0]["env"] = [allowed]
    apply(manifest)
    wait_for("daskcluster", "simple", all_ready(1), seconds=150)
    apply(client_pod(image, ONE_LONG_TASK))
    wait_for("pod", "client", running)
    logged(kubectl, "it runs")
    for n in range(RENEWALS):
        renew(apply, wait_for, manifest, f"release-{n}")
    kubectl("exec", "client", "--", "touch", "/tmp/changed")
    [line] = [each for each in logged(kubectl, "ended:").splitlines() if "ended:" in each]
    runs = RENEWALS + 1
    assert line == f"ended: its result {runs} {20 + runs} {sum(range(20))}"


def test_unused_cluster_is_deleted_after_its_idle_timeout(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    apply(cluster(image, 1, idleTimeout=5))
    wait_for("daskcluster", "simple", running, seconds=120)
    until_nothing_is_left(kubectl)


def renewed(at: str | None, duration: str = "10") -> Manifest:
    """Return a cluster on fake nodes with a lease."""
    noted = {names.ANNOTATION_LEASE_DURATION: duration}
    manifest = fake_cluster(1)
    manifest["metadata"]["annotations"] = noted | (
        {names.ANNOTATION_LEASE_RENEW_TIME: at} if at else {}
    )
    return manifest


@pytest.mark.check(37)
def test_cluster_whose_lease_expired_while_no_operator_ran_can_still_be_renewed(
    operator: Operator,
    apply: Apply,
    kubectl: Kubectl,
    wait_for: WaitFor,
    fake_nodes: Callable[[int], None],
) -> None:
    fake_nodes(1)
    operator.stop()
    wrong = renewed(None, duration="ten")
    wrong["metadata"]["name"] = "wrong"
    apply(renewed("2020-01-01T00:00:00Z"), wrong)
    operator.start()
    wait_for("daskcluster", "simple", lambda c: c.get("status", {}).get("phase"))
    now = format_time(datetime.now(UTC))
    kubectl(
        "annotate",
        "--overwrite",
        "daskcluster/simple",
        f"{names.ANNOTATION_LEASE_RENEW_TIME}={now}",
    )
    renewal = time.monotonic()
    until_only(
        kubectl, "daskcluster.kubernetes.dask.org/wrong", kinds=("daskclusters",), seconds=90
    )
    assert time.monotonic() - renewal > 8
    found = [e for e in kubectl.items("events") if "Lease" in e["reason"]]
    assert sorted((e["reason"], e["involvedObject"]["name"]) for e in found) == [
        ("InvalidLease", "wrong"),
        ("LeaseExpired", "simple"),
    ]


def test_cluster_in_use_outlives_its_idle_timeout(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    code = (
        "from distributed import Client; import time\n"
        "with Client('tcp://simple-scheduler:8786') as c:\n"
        "    print(c.submit(lambda: time.sleep(20) or 'computed').result(), flush=True)\n"
    )
    apply(cluster(image, 1, idleTimeout=8))
    wait_for("daskcluster", "simple", running, seconds=120)
    apply(client_pod(image, code))
    wait_for("pod", "client", lambda pod: pod["status"]["phase"] == "Succeeded", seconds=90)
    assert "computed" in kubectl.log("client").splitlines()
    until_nothing_is_left(kubectl, "pod/client")


def test_deleted_scheduler_is_replaced_and_its_workers_reconnect(
    image: str, apply: Apply, kubectl: Kubectl, wait_for: WaitFor
) -> None:
    apply(cluster(image, 2))
    wait_for("daskcluster", "simple", all_ready(2), seconds=150)
    uid = kubectl("get", "pod", "simple-scheduler", "-o", "jsonpath={.metadata.uid}")
    kubectl("delete", "pod", "simple-scheduler", "--wait=false")
    wait_for(
        "pod",
        "simple-scheduler",
        lambda pod: pod["metadata"]["uid"] != uid and pod["status"]["phase"] == "Running",
    )
    found = wait_for("daskcluster", "simple", running)
    assert condition(found, "SchedulerReady")["status"] == "True"
    code = (
        "from distributed import Client\n"
        "with Client('tcp://simple-scheduler:8786') as c:\n"
        "    c.wait_for_workers(2, timeout=90); print(sum(c.gather(c.map(abs, range(9)))))\n"
    )
    apply(client_pod(image, code))
    wait_for("pod", "client", lambda pod: pod["status"]["phase"] == "Succeeded", seconds=120)
    assert "36" in kubectl.log("client").splitlines()


EVICTION = {"apiVersion": "policy/v1", "kind": "Eviction"}
#: The status of a pod after its kubelet shut down a spot node.
TAKEN_ALONG = {
    "phase": "Failed",
    "reason": "Terminated",
    "message": "Pod was terminated in response to imminent node shutdown.",
    "conditions": [
        {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"},
        {"type": "Ready", "status": "False"},
    ],
}


def test_workers_evicted_repeatedly_are_replaced_at_once_and_do_not_count_as_failures(
    fake_nodes: Callable[[int], None],
    apply: Apply,
    kubectl: Kubectl,
    wait_for: WaitFor,
    namespace: str,
) -> None:
    fake_nodes(2)
    apply(fake_cluster(4))
    wait_for("daskworkergroup", "simple-default", all_ready(4))
    alive = "--field-selector=status.phase=Running"
    workers = ("get", "pods", "--selector=dask.org/component=worker", alive, "-o", "name")
    for _ in range(4):
        names = [name.removeprefix("pod/") for name in kubectl(*workers).split()]
        path = f"/api/v1/namespaces/{namespace}/pods/{names[0]}/eviction"
        eviction = {**EVICTION, "metadata": {"name": names[0]}}
        kubectl("create", f"--raw={path}", "-f", "-", stdin=json.dumps(eviction))
        patch = f"--patch={json.dumps({'status': TAKEN_ALONG})}"
        kubectl("patch", "pod", names[1], "--subresource=status", "--type=merge", patch)

        def replaced(name: str = f"pod/{names[0]}") -> bool:
            there = kubectl(*workers).split()
            return len(there) == 4 and name not in there

        wait_until(replaced, 30, lambda: kubectl(*workers), pause=0.2)
    # Time to report failures, if there were any.
    time.sleep(6)
    status = wait_for("daskworkergroup", "simple-default", all_ready(4))["status"]
    assert "failures" not in status


def test_horizontal_pod_autoscaler_drives_a_group_and_the_cluster_follows(
    fake_nodes: Callable[[int], None], apply: Apply, wait_for: WaitFor
) -> None:
    fake_nodes(2)
    apply(fake_cluster(1))
    wait_for("daskworkergroup", "simple-default", all_ready(1))
    # Without metrics it still enforces its own bounds, with the scale subresource.
    target = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskWorkerGroup"}
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    spec = {
        "scaleTargetRef": {**target, "name": "simple-default"},
        "minReplicas": 3,
        "maxReplicas": 5,
        "metrics": [{"type": "Resource", "resource": cpu}],
    }
    kind = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
    apply({**kind, "metadata": {"name": "simple"}, "spec": spec})
    wait_for("daskworkergroup", "simple-default", all_ready(3), seconds=120)
    wait_for("daskcluster", "simple", lambda c: c["spec"]["worker"]["replicas"] == 3)
