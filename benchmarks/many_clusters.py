"""What is left in an operator of 500 clusters that came and went, in its memory.

    python benchmarks/many_clusters.py --clusters 500 --rounds 3

The first round fills what Python keeps for itself; what later ones add is what would add up.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._operators import Cluster, Manifest, benchmark_cluster, create, daskjob_operator
from tests.cluster.fake_nodes import fake_placement

#: Of each cluster: a scheduler and a worker.
PODS = 2
PATIENCE_SECONDS = 600.0
#: Connections that nobody uses are kept for 30 s, what is known of objects that went for 2 min; and
#: memory goes back to the machine once a minute.
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
    """Wait until there are so many objects of a kind."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while (found := cluster.count(namespace, kind)) != count:
        if time.monotonic() > give_up:
            raise TimeoutError(f"{found} {kind} instead of {count}")
        time.sleep(1.0)


def main() -> None:
    """Create and delete the clusters, and print what the operator has after each round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with benchmark_cluster() as cluster:
        namespace = cluster.namespace()
        clusters = [fake_cluster(f"c-{n}") for n in range(arguments.clusters)]
        with daskjob_operator(cluster, namespace) as operator:
            time.sleep(5)
            told = {"idle": round(operator.rss_mib())}
            for number in range(arguments.rounds):
                create(cluster, namespace, clusters)
                until(cluster, namespace, "pods", PODS * arguments.clusters)
                told[f"full {number}"] = round(operator.rss_mib())
                cluster.kubectl(
                    "delete", "daskclusters", "--all", "--wait=false", f"--namespace={namespace}"
                )
                until(cluster, namespace, "daskclusters,daskworkergroups,pods", 0)
                time.sleep(REST_SECONDS)
                told[f"empty {number}"] = round(operator.rss_mib())
            print("MiB", json.dumps(told))


if __name__ == "__main__":
    main()
