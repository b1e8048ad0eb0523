"""How fast a cluster scales from 0 to 1,000 workers, and how that delays a small job.

In each round, all on fake nodes: a job with 3 workers runs alone; a cluster is scaled up; another
one is scaled up, and the same job is submitted during that; the same number of identical worker
pods are posted by hand, as fast as the API server accepts them.

If the control plane shares all cores with its client, the operator's own work slows it down, which
does not happen on separate machines. With ``--apart``, the control plane has all cores but one, and
the operator, like the posting by hand, has that one.

    python benchmarks/scale_up.py --workers 1000 --rounds 3 --apart
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._operators import Cluster, Manifest, benchmark_cluster, create, daskjob_operator
from benchmarks._operators import fake_job as job
from benchmarks.cluster_pods import IN_FLIGHT, Poster
from benchmarks.many_clusters import fake_cluster, until
from tests.cluster.audit import AuditLog

JOB_WORKERS = 3
PATIENCE_SECONDS = 600.0
#: All further requests about it are made within this time.
SETTLE_SECONDS = 60.0


def moment(received: str) -> float:
    """Return the time of day of an audit log entry, in seconds."""
    hours, minutes, seconds = received.partition("T")[2].rstrip("Z").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def by_hand(cluster: Cluster, like: Manifest, count: int, cores: set[int]) -> float:
    """Post copies of a pod that the operator created, on these cores, and delete them.

    Return the seconds that the POSTs took.
    """
    labels, spec = like["metadata"]["labels"], like["spec"]
    for given_by_the_server in ("nodeName", "serviceAccount", "serviceAccountName", "volumes"):
        spec.pop(given_by_the_server, None)
    for container in spec["containers"]:
        container.pop("volumeMounts", None)
    bodies = [
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"{like['metadata']['name']}-{n}", "labels": labels},
                "spec": spec,
            }
        ).encode()
        for n in range(count)
    ]
    poster = Poster(cluster.native)
    started = time.monotonic()
    with ThreadPoolExecutor(
        IN_FLIGHT, initializer=os.sched_setaffinity, initargs=(0, cores)
    ) as pool:
        list(pool.map(poster, bodies))
    took = time.monotonic() - started
    cluster.kubectl("delete", "pods", "--all", "--namespace=default", "--wait=false")
    until(cluster, "default", "pods", 0)
    return took


@dataclass(frozen=True)
class Started:
    """Seconds from a job's creation until all its pods were posted, and until all were running.

    The first is the operator's part. The second includes waiting for the scheduler and the fake
    nodes, behind earlier pods. The time of the job's status would be less exact: its write is
    delayed to include more changes, by 5 s if the runner was faster than its cluster.
    """

    posted: float
    ran: float


def started_job(cluster: Cluster, namespace: str, name: str) -> Started:
    """Submit a job, wait until it reports that it runs on all its workers; return its times."""
    log = AuditLog(cluster.native.cluster.platform.audit_log)
    position = log.end()
    _submit_and_wait(cluster, namespace, name)
    made: defaultdict[str, list[float]] = defaultdict(list)
    ran: dict[str, float] = {}
    for request in log.since(position):
        mine = request.name == name or request.name.startswith(f"{name}-")
        if request.namespace != namespace or not mine:
            continue
        if request.verb == "create":
            made[request.resource].append(moment(request.received))
        elif request.verb == "patch" and request.user_agent.startswith("kwok/"):
            ran.setdefault(request.name, moment(request.received))
    [submitted] = made["daskjobs"]
    return Started(max(made["pods"]) - submitted, max(ran.values()) - submitted)


def _submit_and_wait(cluster: Cluster, namespace: str, name: str) -> None:
    # With a watch on an open connection: polling with kubectl processes would use as much CPU as
    # the operator.
    path = cluster.access.path("daskjobs", namespace)
    cluster.access.request("POST", path, body=job(name, JOB_WORKERS, ends_after=""))
    status: Manifest = {}
    for found in cluster.access.watched("daskjobs", namespace, name, PATIENCE_SECONDS):
        status = found.get("status", {})
        runs = status.get("jobStatus") == "Running"
        if runs and status.get("workers", {}).get("ready") == JOB_WORKERS:
            return
    raise TimeoutError(json.dumps(status))


@dataclass(frozen=True)
class Scaled:
    """The cost of a scale-up: seconds from its first to its last POST, other requests, a job."""

    posts_seconds: float
    others: int
    job: Started | None
    #: One of the workers.
    worker: Manifest


def scaled(cluster: Cluster, namespace: str, name: str, workers: int, *, with_job: bool) -> Scaled:
    """Create a cluster and scale it up, maybe submitting a job; wait for the last status write."""
    manifest = fake_cluster(name)
    manifest["spec"]["worker"]["replicas"] = 0
    create(cluster, namespace, [manifest])
    until(cluster, namespace, "pods", 1)
    time.sleep(3)
    log = AuditLog(cluster.native.cluster.platform.audit_log)
    position = log.end()
    where = f"--namespace={namespace}"
    cluster.kubectl("scale", "daskcluster", name, f"--replicas={workers}", where)
    job = started_job(cluster, namespace, f"{name}-job") if with_job else None
    # Wait for the last status write: later requests would not be counted.
    ready = f"--for=jsonpath={{.status.readyReplicas}}={workers}"
    for kind, which in (("daskcluster", name), ("daskworkergroup", f"{name}-default")):
        cluster.kubectl("wait", kind, which, ready, "--timeout=300s", where)
    time.sleep(SETTLE_SECONDS)
    asked = [
        request
        for request in log.since(position)
        if request.namespace == namespace and request.user_agent.startswith("daskjob/")
    ]
    group = f"{name}-default"
    posts = [
        moment(request.received)
        for request in asked
        if (request.verb, request.resource) == ("create", "pods") and request.name.startswith(group)
    ]
    others = [r for r in asked if r.name in (name, group) and r.resource != "events"]
    pods = cluster.access.items("pods", namespace)
    worker = next(pod for pod in pods if pod["metadata"]["name"].startswith(group))
    cluster.kubectl("delete", "daskclusters,daskjobs", "--all", "--wait=false", where)
    until(cluster, namespace, "pods", 0)
    return Scaled(max(posts) - min(posts), len(others), job, worker)


def main() -> None:
    """Run the rounds, and print medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--apart", action="store_true")
    arguments = parser.parse_args()
    cores = os.sched_getaffinity(0)
    if arguments.apart:
        own = max(cores)
        # Child processes, above all the cluster, inherit this.
        os.sched_setaffinity(0, cores - {own})
        cores = {own}
    raw, quiet, busy = [], [], []
    alone: list[Started] = []
    beside: list[Started] = []
    with benchmark_cluster() as cluster:
        namespace = cluster.namespace()
        with daskjob_operator(cluster, namespace, cpus=",".join(map(str, cores))):
            time.sleep(5)
            for number in range(arguments.rounds):
                alone.append(started_job(cluster, namespace, f"alone-{number}"))
                cluster.kubectl("delete", "daskjobs", "--all", f"--namespace={namespace}")
                until(cluster, namespace, "pods", 0)
                first, second = (
                    scaled(
                        cluster, namespace, f"c-{number}-{int(w)}", arguments.workers, with_job=w
                    )
                    for w in (False, True)
                )
                raw.append(by_hand(cluster, first.worker, arguments.workers, cores))
                quiet.append(first.posts_seconds)
                busy.append(second.posts_seconds)
                if second.job:
                    beside.append(second.job)
                print(
                    f"round {number}: by hand {raw[-1]:.1f} s, scaled {quiet[-1]:.1f} s, with a "
                    f"job {busy[-1]:.1f} s; {first.others} and {second.others} other requests; job "
                    f"alone posted {alone[-1].posted:.2f} s, ran {alone[-1].ran:.2f} s; "
                    f"during a scale-up {beside[-1].posted:.2f}, {beside[-1].ran:.2f} s",
                    flush=True,
                )
    usual = statistics.median(raw)
    print(
        f"POSTs took {statistics.median(quiet) / usual:.2f} times as long as by hand, "
        f"{statistics.median(busy) / usual:.2f} times with a job submitted during the scale-up"
    )
    for what in ("posted", "ran"):
        early, late = (
            statistics.median(getattr(j, what) for j in jobs) for jobs in (alone, beside)
        )
        print(f"a job's pods {what} after {late:.2f} s, {late / early:.2f} times as long as alone")


if __name__ == "__main__":
    main()
