"""The number of API requests that a job costs, from the audit log (design §5.2)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.cluster.audit import Request
from tests.cluster.fake_nodes import fake_placement
from tests.cluster.plugin import Audited, Kubectl, Kubernetes, WaitFor
from tests.operator.clusters import cluster, fake_cluster, running
from tests.operator.installed import Operator
from tests.operator.jobs import ended, fake_job, python_job, says
from tests.waiting import wait_until

Manifest = dict[str, Any]
Apply = Callable[..., None]
Audit = Callable[[], AbstractContextManager[Audited]]
FakeNodes = Callable[[int], None]

#: Counts in a status are written within 5 s.
COUNTS_WRITTEN_SECONDS = 6.0


@pytest.fixture
def image(kubernetes: Kubernetes) -> str:
    return kubernetes.image("dask")


def within_budget(requests: list[Request], workers: int) -> None:
    """Fail if a job took more than N + 13 requests, or any read."""
    asked = [r for r in requests if r.resource != "events"]
    lines = "\n".join(f"{r.received} {r.verb} {r.resource} {r.name}" for r in requests)
    assert len(asked) <= workers + 13, f"{len(asked)} requests:\n{lines}"
    assert len(requests) - len(asked) <= 4, lines
    assert not [r for r in requests if r.verb in ("get", "list", "watch")], lines


def until_cleaned_up(kubectl: Kubectl, jobs: int = 1) -> None:
    """Wait until only the runners of this many jobs are left."""

    def there() -> list[str]:
        return kubectl.there("daskclusters", "pods")

    wait_until(lambda: len(there()) <= jobs, 120, there, pause=0.2)
    # Also count requests of a later pass.
    time.sleep(2)


def test_requests_for_a_job_of_2_real_workers_are_at_most_n_plus_13(
    operator: Operator,
    image: str,
    apply: Apply,
    kubectl: Kubectl,
    wait_for: WaitFor,
    audit: Audit,
    namespace: str,
) -> None:
    # As many as one node of a busy machine starts within the 5 s after which counts are written:
    # if it takes longer, they are written twice. Tests with many workers use fake nodes, below.
    with audit() as audited:
        apply(python_job(image, "import time; time.sleep(12)", workers=2))
        wait_for("daskjob", "sums", ended)
        until_cleaned_up(kubectl)
    within_budget(operator.asked(audited, namespace), 2)


@pytest.mark.parametrize("workers", [1, 10])
def test_requests_for_a_job_of_n_workers_are_at_most_n_plus_13(
    workers: int,
    operator: Operator,
    fake_nodes: FakeNodes,
    apply: Apply,
    kubectl: Kubectl,
    wait_for: WaitFor,
    audit: Audit,
    namespace: str,
) -> None:
    fake_nodes(2)
    with audit() as audited:
        # The runner outlives the delay of counts, so that they are written.
        apply(fake_job(workers=workers, ends_after="12s"))
        wait_for("daskjob", "sums", ended)
        until_cleaned_up(kubectl)
    within_budget(operator.asked(audited, namespace), workers)


def test_restart_of_the_operator_writes_nothing_about_100_ended_and_20_running_jobs(
    operator: Operator,
    fake_nodes: FakeNodes,
    apply: Apply,
    kubectl: Kubectl,
    audit: Audit,
    namespace: str,
) -> None:
    fake_nodes(2)
    apply(*(fake_job(name=f"done-{n}", workers=1, ends_after="0s") for n in range(100)))
    apply(*(fake_job(name=f"busy-{n}") for n in range(20)))

    def states() -> Counter[str | None]:
        return Counter(job.get("status", {}).get("jobStatus") for job in kubectl.items("daskjobs"))

    wait_until(lambda: states() == {"Successful": 100, "Running": 20}, 180, states, pause=1)
    # The runners of all jobs, and the schedulers and workers of running ones.
    until_cleaned_up(kubectl, 100 + 20 * 4 + 20)
    time.sleep(COUNTS_WRITTEN_SECONDS)
    with audit() as audited:
        operator.stop()
        operator.start()
        time.sleep(3)
    asked = [str(r) for r in operator.asked(audited, namespace)]
    assert asked == []


COMPUTES_NOW_AND_THEN = """
import time
from distributed import Client
with Client() as client:
    client.wait_for_workers(1)
    for n in range(600):
        client.submit(abs, -n).result()
        time.sleep(0.5)
"""


def test_running_job_costs_its_progress_and_nothing_else(
    operator: Operator,
    image: str,
    apply: Apply,
    wait_for: WaitFor,
    audit: Audit,
    namespace: str,
) -> None:
    every = {"intervalSeconds": 10}
    apply(python_job(image, COMPUTES_NOW_AND_THEN, dask=True, progress=every))
    wait_for("daskjob", "sums", lambda j: j.get("status", {}).get("progress", {}).get("done"))
    time.sleep(COUNTS_WRITTEN_SECONDS)
    with audit() as audited:
        time.sleep(21)
    asked = [f"{r.verb} {r.resource}" for r in operator.asked(audited, namespace)]
    assert 1 <= len(asked) <= 3
    assert set(asked) == {"patch daskjobs/status"}


def test_running_job_with_nothing_new_costs_nothing(
    operator: Operator,
    image: str,
    apply: Apply,
    wait_for: WaitFor,
    audit: Audit,
    namespace: str,
) -> None:
    code = "import time; time.sleep(600)"
    apply(python_job(image, code, dask=True, progress={"intervalSeconds": 5}))
    wait_for("daskjob", "sums", says("Running"))
    wait_for("daskjob", "sums", lambda j: j["status"].get("workers", {}).get("ready") == 1)
    time.sleep(2 * COUNTS_WRITTEN_SECONDS)
    with audit() as audited:
        time.sleep(15)
    asked = [str(r) for r in operator.asked(audited, namespace)]
    assert asked == []


def test_scaling_from_0_to_300_workers_is_300_creations_and_at_most_3_other_requests(
    operator: Operator,
    fake_nodes: FakeNodes,
    apply: Apply,
    kubectl: Kubectl,
    wait_for: WaitFor,
    audit: Audit,
    namespace: str,
) -> None:
    fake_nodes(2)
    apply(fake_cluster(0))
    wait_for("daskcluster", "simple", running)
    time.sleep(COUNTS_WRITTEN_SECONDS)
    with audit() as audited:
        kubectl("scale", "daskcluster", "simple", "--replicas=300")
        wait_for("daskcluster", "simple", lambda c: c["status"].get("readyReplicas") == 300)
        time.sleep(COUNTS_WRITTEN_SECONDS)
    asked = [f"{r.verb} {r.resource}" for r in operator.asked(audited, namespace)]
    others = [one for one in asked if one != "create pods"]
    # With 1,000, a slow machine's fake nodes need two status writes: see benchmarks/scale_up.py.
    assert (asked.count("create pods"), len(others) <= 3) == (300, True), others


def test_scaling_down_by_3_is_at_most_6_requests(
    operator: Operator,
    image: str,
    apply: Apply,
    kubectl: Kubectl,
    wait_for: WaitFor,
    audit: Audit,
    namespace: str,
) -> None:
    apply(cluster(image, 4))
    wait_for("daskcluster", "simple", lambda c: c.get("status", {}).get("readyReplicas") == 4)
    time.sleep(2 * COUNTS_WRITTEN_SECONDS)
    with audit() as audited:
        kubectl("scale", "daskcluster", "simple", "--replicas=1")
        wait_for("daskcluster", "simple", lambda c: c["status"].get("replicas") == 1)
        time.sleep(COUNTS_WRITTEN_SECONDS)
    asked = operator.asked(audited, namespace)
    assert sum((r.verb, r.resource) == ("delete", "pods") for r in asked) == 3
    # The log has the reason if the retirement took more than one attempt.
    assert len(asked) <= 6, "\n".join([*(f"{r.received} {r}" for r in asked), operator.logs()])


def test_foreign_pods_cost_nothing_and_are_not_watched(
    operator: Operator,
    fake_nodes: FakeNodes,
    apply: Apply,
    kubectl: Kubectl,
    wait_for: WaitFor,
    audit: Audit,
    namespace: str,
) -> None:
    fake_nodes(2)
    apply(fake_cluster(1))
    wait_for("daskcluster", "simple", running)
    time.sleep(2 * COUNTS_WRITTEN_SECONDS)
    spec = {"containers": [{"name": "theirs", "image": "none"}], **fake_placement()}
    theirs = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"theirs-{n}", "labels": {"app": "theirs"}},
            "spec": spec,
        }
        for n in range(100)
    ]
    with audit() as audited:
        apply(*theirs)
        kubectl("delete", "pods", "--selector=app=theirs", "--grace-period=1")
    assert [str(r) for r in operator.asked(audited, namespace)] == []
    # Objects that are not watched cost nothing, whatever their number.
    with audit() as audited:
        operator.stop()
        operator.start()
    watched = [
        request.uri
        for request in audited.of(operator.user)
        if request.verb in ("list", "watch") and request.resource in ("pods", "services")
    ]
    assert {r.partition("?")[0] for r in watched} == {"/api/v1/pods", "/api/v1/services"}
    assert all("labelSelector=dask.org" in uri for uri in watched), watched
