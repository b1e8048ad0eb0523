"""Memory of an operator after 500 clusters were created and deleted.

    python benchmarks/many_clusters.py --clusters 500 --rounds 3

A few come and go first, to allocate memory that any operator needs once it works (code,
connections, threads). Growth in later rounds is a leak.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._operators import (
    Cluster,
    Manifest,
    Operator,
    benchmark_cluster,
    create,
    daskjob_operator,
)
from tests.cluster.fake_nodes import fake_placement

#: The number of clusters that come and go first.
WARM_UP = 10
#: Pods of a cluster: a scheduler and a worker.
PODS = 2
PATIENCE_SECONDS = 600.0
#: Idle connections are kept for 30 s, the state of deleted objects for 2 min, and memory is
#: returned to the machine once a minute.
REST_SECONDS = 240.0


def fake_cluster(name: str) -> Manifest:
    """Return a cluster whose pods exist by name only."""
    container = {"name": "main", "image": "none", "args": ["true"]}
    pods = {"containers": [container], "terminationGracePeriodSeconds": 0, **fake_placement()}
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": name},
        "spec": {"scheduler": {"spec": pods}, "worker": {"replicas": 1, "spec": pods}},
    }


def until(cluster: Cluster, namespace: str, kind: str, count: int) -> None:
    """Wait until there are exactly this many objects of a kind."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while (found := cluster.count(namespace, kind)) != count:
        if time.monotonic() > give_up:
            raise TimeoutError(f"{found} {kind} instead of {count}")
        time.sleep(1.0)


def come_and_go(
    cluster: Cluster, operator: Operator, namespace: str, count: int
) -> tuple[float, float]:
    """Create and delete clusters; return the operator's memory with them, and after."""
    create(cluster, namespace, [fake_cluster(f"c-{n}") for n in range(count)])
    until(cluster, namespace, "pods", PODS * count)
    full = operator.rss_mib()
    cluster.kubectl("delete", "daskclusters", "--all", "--wait=false", f"--namespace={namespace}")
    until(cluster, namespace, "daskclusters,daskworkergroups,pods", 0)
    time.sleep(REST_SECONDS)
    return full, operator.rss_mib()


def main() -> None:
    """Create and delete the clusters, and print the operator's memory after each round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    with benchmark_cluster() as cluster:
        namespace = cluster.namespace()
        with daskjob_operator(cluster, namespace) as operator:
            time.sleep(5)
            print(f"idle: {operator.rss_mib():.1f} MiB")
            for count in [WARM_UP, *[arguments.clusters] * arguments.rounds]:
                full, after = come_and_go(cluster, operator, namespace, count)
                print(
                    f"{count} clusters: {full:.1f} MiB with them, {after:.1f} MiB after", flush=True
                )


if __name__ == "__main__":
    main()
