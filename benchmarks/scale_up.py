"""How fast 0 workers become 1,000, and what a small job that comes meanwhile notices of it.

By turns, all on fake nodes: as many pods are posted as fast as the API server takes them; a job
with 3 workers runs alone; a cluster is scaled up, and the same job is submitted into that.

    python benchmarks/scale_up.py --workers 1000 --rounds 3
"""

from __future__ import annotations

import argparse
import json
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
from benchmarks.cluster_pods import IN_FLIGHT, Poster, pod
from benchmarks.many_clusters import fake_cluster, until
from tests.cluster.audit import AuditLog
from tests.cluster.fake_nodes import fake_placement

JOB_WORKERS = 3
PATIENCE_SECONDS = 600.0
#: Whatever else is told of it comes within this time.
TOLD_SECONDS = 60.0


def moment(received: str) -> float:
    """Return the time of day, in seconds, that an audit log tells."""
    hours, minutes, seconds = received.partition("T")[2].rstrip("Z").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def raw_seconds(cluster: Cluster, workers: int) -> float:
    """Post as many pods by hand, and delete them; return how long the posting took."""
    bodies = [pod(f"raw-{n}", "none.invalid/x", **fake_placement()) for n in range(workers)]
    poster = Poster(cluster.native)
    started = time.monotonic()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        list(pool.map(poster, bodies))
    took = time.monotonic() - started
    cluster.kubectl("delete", "pods", "--all", "--namespace=default", "--wait=false")
    until(cluster, "default", "pods", 0)
    return took


@dataclass(frozen=True)
class Started:
    """After how many seconds a job's pods were posted, all of them, and ran on the fake nodes.

    The first is the operator's part. The second has the pods wait for the scheduler and the nodes,
    too, behind all that came before them.
    """

    posted: float
    ran: float


def started_job(cluster: Cluster, namespace: str, name: str) -> Started:
    """Submit a job, and wait until it runs on all its workers."""
    log = AuditLog(cluster.native.cluster.site.audit_log)
    position = log.end()
    ran = _seconds_until_it_runs(cluster, namespace, name)
    made: defaultdict[str, list[float]] = defaultdict(list)
    for request in log.since(position):
        mine = request.name == name or request.name.startswith(f"{name}-")
        if request.namespace == namespace and request.verb == "create" and mine:
            made[request.resource].append(moment(request.received))
    return Started(max(made["pods"]) - min(made["daskjobs"]), ran)


def _seconds_until_it_runs(cluster: Cluster, namespace: str, name: str) -> float:
    # By a watch of a connection that is there: a process of kubectl for every look would take as
    # much of the processors as the operator.
    path = cluster.access.path("daskjobs", namespace)
    started = time.monotonic()
    cluster.access.request("POST", path, body=job(name, JOB_WORKERS, ends_after=""))
    status: Manifest = {}
    for found in cluster.access.watched("daskjobs", namespace, name, PATIENCE_SECONDS):
        status = found.get("status", {})
        runs = status.get("jobStatus") == "Running"
        if runs and status.get("workers", {}).get("ready") == JOB_WORKERS:
            return time.monotonic() - started
    raise TimeoutError(json.dumps(status))


@dataclass(frozen=True)
class Scaled:
    """What a scale-up took: from its first POST to its last, a job meanwhile, other requests."""

    posts_seconds: float
    job: Started
    others: int


def scaled(cluster: Cluster, namespace: str, name: str, workers: int) -> Scaled:
    """Scale a cluster up, and submit a job into that; wait until all of it is told."""
    log = AuditLog(cluster.native.cluster.site.audit_log)
    position = log.end()
    where = f"--namespace={namespace}"
    cluster.kubectl("scale", "daskcluster", name, f"--replicas={workers}", where)
    job = started_job(cluster, namespace, f"{name}-job")
    # Told to the end: requests that are still to come would count for nothing.
    ready = f"--for=jsonpath={{.status.readyReplicas}}={workers}"
    for kind, which in (("daskcluster", name), ("daskworkergroup", f"{name}-default")):
        cluster.kubectl("wait", kind, which, ready, "--timeout=300s", where)
    time.sleep(TOLD_SECONDS)
    asked = [
        request
        for request in log.since(position)
        if request.namespace == namespace and request.user_agent.startswith("daskjob/")
    ]
    posts = [moment(r.received) for r in asked if (r.verb, r.resource) == ("create", "pods")]
    about = (name, f"{name}-default")
    others = [r for r in asked if r.name in about and r.resource != "events"]
    return Scaled(max(posts) - min(posts), job, len(others))


def main() -> None:
    """Take turns, and print medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    raw, posts = [], []
    alone: list[Started] = []
    beside: list[Started] = []
    with benchmark_cluster() as cluster:
        for number in range(arguments.rounds):
            namespace = cluster.namespace()
            with daskjob_operator(cluster, namespace):
                time.sleep(5)
                raw.append(raw_seconds(cluster, arguments.workers))
                alone.append(started_job(cluster, namespace, "alone"))
                cluster.kubectl("delete", "daskjob", "alone", f"--namespace={namespace}")
                until(cluster, namespace, "pods", 0)
                name = f"c-{number}"
                manifest = fake_cluster(name)
                manifest["spec"]["worker"]["replicas"] = 0
                create(cluster, namespace, [manifest])
                until(cluster, namespace, "pods", 1)
                time.sleep(3)
                found = scaled(cluster, namespace, name, arguments.workers)
                posts.append(found.posts_seconds)
                beside.append(found.job)
                print(
                    f"round {number}: by hand {raw[-1]:.1f} s, scaled {posts[-1]:.1f} s and "
                    f"{found.others} requests more; job alone posted {alone[-1].posted:.2f} s, "
                    f"ran {alone[-1].ran:.1f} s; meanwhile {found.job.posted:.2f}, "
                    f"{found.job.ran:.1f} s"
                )
                cluster.kubectl("delete", "namespace", namespace, "--timeout=300s")
    print(f"POSTs took {statistics.median(posts) / statistics.median(raw):.2f} times by hand's")
    for what in ("posted", "ran"):
        usual, late = (
            statistics.median(getattr(j, what) for j in jobs) for jobs in (alone, beside)
        )
        print(f"a job's pods {what} after {late:.2f} s, {late / usual:.2f} times as long as alone")


if __name__ == "__main__":
    main()
