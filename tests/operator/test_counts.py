"""The number of API requests that a job costs, from the audit log (design §5.2).

Objects that wait are measured in the same seconds, each in a namespace of its own: a request has
the namespace that it is about.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.audit import Request
from tests.cluster.fake_nodes import fake_placement
from tests.cluster.plugin import Audited, Kubectl, WaitFor, fresh_namespace
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
PROGRESS_SECONDS = 10
#: How long objects that wait are measured, at least.
MEASURED_SECONDS = 2 * PROGRESS_SECONDS + 1.0


#: How long pods that start at once may take.
START_SECONDS = 180.0


# A job from its creation to its end


def within_budget(requests: list[Request], workers: int) -> None:
    """Fail if a job took more than N + 13 requests, or any read."""
    asked = [r for r in requests if r.resource != "events"]
    lines = "\n".join(f"{r.received} {r.verb} {r.resource} {r.name}" for r in requests)
    assert asked, "a job without requests was not measured"
    assert len(asked) <= workers + 13, f"{len(asked)} requests:\n{lines}"
    assert len(requests) - len(asked) <= 4, lines
    assert not [r for r in requests if r.verb in ("get", "list", "watch")], lines


def until_cleaned_up(kubectl: Kubectl, jobs: int = 1) -> None:
    """Wait until only the runners of this many jobs are left."""

    def there() -> list[str]:
        return kubectl.there("daskclusters", "pods")

    wait_until(lambda: len(there()) <= jobs, 120, there, pause=0.2)


def counted(job: Manifest) -> bool:
    """Return whether the status of a job has all of its workers, or its end."""
    workers = job.get("status", {}).get("workers") or {}
    return ended(job) or 0 < workers.get("ready", 0) == workers.get("desired")


@pytest.fixture(scope="module")
def jobs(
    operator: Operator, fake_nodes: FakeNodes, audit: Audit, request: pytest.FixtureRequest
) -> dict[str, list[Request]]:
    """The requests about jobs with a number of workers, each from its creation to its end."""
    kubernetes = operator.kubernetes
    fake_nodes(2)
    manifests = {
        # As many real ones as one node of a busy machine starts within the 5 s after which counts
        # are written: if it takes longer, they are written twice.
        "2 real": python_job(kubernetes.image("dask"), "import time; time.sleep(12)", workers=2),
        # The runner outlives the delay of counts, so that they are written.
        **{str(n): fake_job(workers=n, ends_after="12s") for n in (1, 10)},
    }
    with ExitStack() as stack:
        places = {
            name: Kubectl(
                kubernetes, stack.enter_context(fresh_namespace(kubernetes, request.node))
            )
            for name in manifests
        }
        with audit() as audited:
            for name, manifest in manifests.items():
                places[name].apply(manifest)
                # Nothing else starts within the 5 s of the real ones.
                places[name].wait_for("daskjob", "sums", counted, seconds=START_SECONDS)
            for kubectl in places.values():
                kubectl.wait_for("daskjob", "sums", ended, seconds=START_SECONDS)
            for kubectl in places.values():
                until_cleaned_up(kubectl)
            # Also count requests of a later pass.
            time.sleep(2)
        return {
            name: operator.asked(audited, kubectl.namespace) for name, kubectl in places.items()
        }


@pytest.mark.parametrize("workers", ["1", "10", "2 real"])
def test_requests_for_a_job_of_n_workers_are_at_most_n_plus_13(
    workers: str, jobs: dict[str, list[Request]]
) -> None:
    within_budget(jobs[workers], int(workers.split()[0]))


# A cluster that grows


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


# Objects that wait

COMPUTES_NOW_AND_THEN = """
import time
from distributed import Client
with Client() as client:
    client.wait_for_workers(1)
    for n in range(600):
        client.submit(abs, -n).result()
        time.sleep(0.5)
"""


@dataclass(frozen=True)
class Waiting:
    """What was asked about objects that wait, each in a namespace of its own."""

    operator: Operator
    namespaces: dict[str, str]
    #: While something happened in some of them, and how long that took.
    audited: Audited
    seconds: float
    #: The log of the operator until then.
    log: str
    #: While it was restarted.
    restarted: Audited

    def asked(self, name: str) -> list[Request]:
        """Return the operator's requests about a namespace."""
        return self.operator.asked(self.audited, self.namespaces[name])


@dataclass(frozen=True)
class Places:
    """The namespaces of `Waiting`."""

    #: A job that computes, and a job that does not.
    progress: Kubectl
    idle: Kubectl
    #: Clusters that nobody uses, with an idle timeout and without.
    unused: Kubectl
    #: A cluster that is scaled down.
    smaller: Kubectl
    #: A cluster beside pods of others.
    foreign: Kubectl
    #: 100 jobs that have ended, and 20 that are running.
    many: Kubectl

    def fill(self, image: str) -> None:
        """Create the objects, and wait until nothing happens to them any more."""
        self.many.apply(
            *(fake_job(name=f"done-{n}", workers=1, ends_after="0s") for n in range(100))
        )
        self.many.apply(*(fake_job(name=f"busy-{n}") for n in range(20)))
        code = "import time; time.sleep(600)"
        self.idle.apply(python_job(image, code, dask=True, progress={"intervalSeconds": 5}))
        every = {"intervalSeconds": PROGRESS_SECONDS}
        computes = python_job(image, COMPUTES_NOW_AND_THEN, dask=True, progress=every)
        self.progress.apply(computes)
        other = cluster(image, 1, idleTimeout=3600)
        other["metadata"]["name"] = "other"
        self.unused.apply(cluster(image, 1), other)
        self.smaller.apply(cluster(image, 4))
        self.foreign.apply(fake_cluster(1))
        self._until_filled()
        time.sleep(2 * COUNTS_WRITTEN_SECONDS)

    def _until_filled(self) -> None:
        def waited(place: Kubectl, name: str, true: Callable[[Manifest], object]) -> None:
            kind = "daskjob" if name == "sums" else "daskcluster"
            place.wait_for(kind, name, true, seconds=START_SECONDS)

        waited(self.foreign, "simple", running)
        waited(self.idle, "sums", says("Running"))
        waited(self.idle, "sums", lambda job: (_status(job, "workers") or {}).get("ready"))
        waited(self.progress, "sums", lambda job: (_status(job, "progress") or {}).get("done"))
        for place, name, workers in (
            (self.unused, "simple", 1),
            (self.unused, "other", 1),
            (self.smaller, "simple", 4),
        ):
            waited(place, name, _with_ready(workers))
        ends = {"Successful": 100, "Running": 20}
        wait_until(lambda: self._states() == ends, START_SECONDS, self._states, pause=1)
        # The runners of all jobs, and the schedulers and workers of running ones.
        until_cleaned_up(self.many, 100 + 20 * 4 + 20)

    def _states(self) -> Counter[str | None]:
        return Counter(_status(job, "jobStatus") for job in self.many.items("daskjobs"))

    def act(self) -> None:
        """Scale a cluster down, and have others create and delete pods."""
        self.smaller("scale", "daskcluster", "simple", "--replicas=1")
        self.smaller.wait_for("daskcluster", "simple", lambda c: _status(c, "replicas") == 1)
        spec = {"containers": [{"name": "theirs", "image": "none"}], **fake_placement()}
        names = [f"theirs-{n}" for n in range(100)]
        of = {"apiVersion": "v1", "kind": "Pod", "spec": spec}
        self.foreign.apply(
            *({**of, "metadata": {"name": name, "labels": {"app": "theirs"}}} for name in names)
        )
        self.foreign("delete", "pods", "--selector=app=theirs", "--grace-period=1")


def _status(found: Manifest, name: str) -> Any:
    return found.get("status", {}).get(name)


def _with_ready(workers: int) -> Callable[[Manifest], bool]:
    return lambda found: _status(found, "readyReplicas") == workers


@pytest.fixture(scope="module")
def waiting(
    operator: Operator, fake_nodes: FakeNodes, audit: Audit, request: pytest.FixtureRequest
) -> Iterator[Waiting]:
    """Objects that wait; the operator is restarted at last."""
    kubernetes = operator.kubernetes
    fake_nodes(2)
    with ExitStack() as stack:
        namespaces = {
            name: stack.enter_context(fresh_namespace(kubernetes, request.node))
            for name in Places.__dataclass_fields__
        }
        places = Places(**{name: Kubectl(kubernetes, n) for name, n in namespaces.items()})
        places.fill(kubernetes.image("dask"))
        begun = time.monotonic()
        with audit() as audited:
            places.act()
            time.sleep(COUNTS_WRITTEN_SECONDS)
            time.sleep(max(0.0, begun + MEASURED_SECONDS - time.monotonic()))
        seconds = time.monotonic() - begun
        log = operator.logs()
        with audit() as restarted:
            operator.stop()
            operator.start()
            time.sleep(3)
        yield Waiting(operator, namespaces, audited, seconds, log, restarted)


def test_running_job_costs_its_progress_and_nothing_else(waiting: Waiting) -> None:
    asked = [f"{r.verb} {r.resource}" for r in waiting.asked("progress")]
    assert 1 <= len(asked) <= waiting.seconds // PROGRESS_SECONDS + 1, f"{waiting.seconds:.1f} s"
    assert set(asked) == {"patch daskjobs/status"}


def test_running_job_with_nothing_new_costs_nothing(waiting: Waiting) -> None:
    assert [str(r) for r in waiting.asked("idle")] == []


def test_unused_clusters_cost_nothing_with_an_idle_timeout_or_without(waiting: Waiting) -> None:
    assert [str(r) for r in waiting.asked("unused")] == []


def test_scaling_down_by_3_is_at_most_6_requests(waiting: Waiting) -> None:
    asked = waiting.asked("smaller")
    assert sum((r.verb, r.resource) == ("delete", "pods") for r in asked) == 3
    # The log has the reason if the retirement took more than one attempt.
    assert len(asked) <= 6, "\n".join([*(f"{r.received} {r}" for r in asked), waiting.log])


def test_foreign_pods_cost_nothing_and_are_not_watched(waiting: Waiting) -> None:
    assert [str(r) for r in waiting.asked("foreign")] == []
    # Objects that are not watched cost nothing, whatever their number.
    watched = [
        request.uri
        for request in waiting.restarted.of(waiting.operator.user)
        if request.verb in ("list", "watch") and request.resource in ("pods", "services")
    ]
    assert {r.partition("?")[0] for r in watched} == {"/api/v1/pods", "/api/v1/services"}
    assert all("labelSelector=dask.org" in uri for uri in watched), watched


def test_restart_of_the_operator_writes_nothing_about_100_ended_and_20_running_jobs(
    waiting: Waiting,
) -> None:
    asked = waiting.operator.asked(waiting.restarted, waiting.namespaces["many"])
    assert [str(r) for r in asked] == []
