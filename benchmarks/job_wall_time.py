"""How much longer a job takes than the same pods created by hand, all at once, on a real node.

Alternately: a DaskJob, from its creation to its runner's exit; then the same pods, as the operator
created them, until the same point. The runner computes on its two workers for some seconds.

    python benchmarks/job_wall_time.py --rounds 5
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._operators import Cluster, Manifest, benchmark_cluster, create, daskjob_operator
from tests.cluster.images import image
from tests.operator.jobs import python_job

COMPUTES = """
import time
from distributed import Client
with Client() as client:
    client.wait_for_workers(2)
    print(client.submit(sum, client.map(lambda n: time.sleep(0.1) or n, range(60))).result())
"""
PATIENCE_SECONDS = 120.0
#: Metadata of a pod that the API server sets, or that ties the pod to its owner.
SERVERS_OWN = ("uid", "resourceVersion", "creationTimestamp", "ownerReferences", "managedFields")


def job(reference: str) -> Manifest:
    """Return the job, whose image is on the node already.

    Its objects are kept when it ends, so that they can be read.
    """
    keep = {"onSuccess": "Keep"}
    return python_job(reference, COMPUTES, workers=2, dask=True, deletionPolicy=keep)


def runner_ended(cluster: Cluster, namespace: str) -> bool:
    """Return whether the runner has succeeded; a failure ends the benchmark."""
    where = [f"--namespace={namespace}", "--ignore-not-found", "-o", "jsonpath={.status.phase}"]
    phase = cluster.kubectl("get", "pod", "sums-runner", *where).strip()
    if phase == "Failed":
        raise RuntimeError(cluster.kubectl("logs", "sums-runner", f"--namespace={namespace}"))
    return phase == "Succeeded"


def until(true: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not true():
        if time.monotonic() > give_up:
            raise TimeoutError(f"the runner has not ended after {PATIENCE_SECONDS:.0f} s")
        time.sleep(0.1)


def seconds_to_run(cluster: Cluster, namespace: str, manifests: list[Manifest]) -> float:
    """Create objects; return the seconds until the runner has succeeded."""
    started = time.monotonic()
    create(cluster, namespace, manifests)
    until(partial(runner_ended, cluster, namespace))
    return time.monotonic() - started


def made_by(cluster: Cluster, namespace: str) -> list[Manifest]:
    """Return the job's pods and its Service, stripped so that they can be created again."""
    words = ["get", "services,pods", f"--namespace={namespace}", "-o", "json"]
    found: list[Manifest] = json.loads(cluster.kubectl(*words))["items"]
    for manifest in found:
        manifest.pop("status", None)
        for key in SERVERS_OWN:
            manifest["metadata"].pop(key, None)
        for key in ("nodeName", "clusterIP", "clusterIPs"):
            manifest["spec"].pop(key, None)
    return found


def main() -> None:
    """Do both alternately, and print each round and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    jobs, by_hand = [], []
    with benchmark_cluster(fake_nodes=0) as cluster:
        reference = cluster.native.load(image("dask"))
        for _ in range(arguments.rounds):
            namespace = cluster.namespace()
            where = f"--namespace={namespace}"
            with daskjob_operator(cluster, namespace):
                time.sleep(3)
                seconds = seconds_to_run(cluster, namespace, [job(reference)])
                pods = made_by(cluster, namespace)
                cluster.kubectl("delete", "daskjobs", "--all", where)
                cluster.kubectl("wait", "pods", "--all", where, "--for=delete", "--timeout=60s")
            jobs.append(seconds)
            by_hand.append(seconds_to_run(cluster, namespace, pods))
            cluster.kubectl("delete", "pods,services", "--all", where)
            print(f"job {jobs[-1]:5.1f} s, its pods by hand {by_hand[-1]:5.1f} s")
    ratio = statistics.median(j / p for j, p in zip(jobs, by_hand, strict=True))
    print(f"a job takes {ratio:.2f} times as long as its pods created by hand")


if __name__ == "__main__":
    main()
