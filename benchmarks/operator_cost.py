"""CPU and memory that a job costs the operator, compared with dask-kubernetes in the same run.

Each operator in turn runs jobs of ten workers on fake nodes, several at once, until everything is
cleaned up. The figures are those of its process alone, after a first job that warms it up.

    python benchmarks/operator_cost.py --rounds 3 --jobs 10
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._operators import (
    Cluster,
    Operator,
    benchmark_cluster,
    create,
    dask_kubernetes_operator,
    daskjob_operator,
    fake_job,
    until,
    until_cleaned_up,
)

WORKERS = 10
#: An operator that did nothing for this time is idle.
IDLE_SECONDS = 5.0


@dataclass(frozen=True)
class Cost:
    """The cost of one round."""

    cpu_ms_a_job: float
    idle_mib: float
    loaded_mib: float


def measured(cluster: Cluster, operator: Operator, namespace: str, jobs: int) -> Cost:
    """Run one job to warm up, then all others at once; return the cost of these."""
    create(cluster, namespace, [fake_job("warm", WORKERS)])
    until(cluster, namespace, "Successful", 1)
    until_cleaned_up(cluster, namespace, 1)
    time.sleep(IDLE_SECONDS)
    idle, before = operator.rss_mib(), operator.cpu_seconds()
    create(cluster, namespace, [fake_job(f"job-{n}", WORKERS) for n in range(jobs)])
    until(cluster, namespace, "Successful", jobs + 1)
    until_cleaned_up(cluster, namespace, jobs + 1)
    time.sleep(IDLE_SECONDS)
    spent = operator.cpu_seconds() - before
    loaded = operator.rss_mib()
    # While it runs: only dask-kubernetes itself removes its finalizers.
    cluster.kubectl("delete", "daskjobs", "--all", f"--namespace={namespace}", "--timeout=120s")
    return Cost(1000 * spent / jobs, idle, loaded)


def main() -> None:
    """Have both run jobs alternately, and print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=10)
    arguments = parser.parse_args()
    costs: dict[str, list[Cost]] = defaultdict(list)
    with benchmark_cluster() as cluster:
        for _ in range(arguments.rounds):
            for run in (daskjob_operator, dask_kubernetes_operator):
                namespace = cluster.namespace()
                with run(cluster, namespace) as operator:
                    cost = measured(cluster, operator, namespace, arguments.jobs)
                costs[operator.name].append(cost)
                print(
                    f"{operator.name:16} {cost.cpu_ms_a_job:7.1f} ms CPU per job, "
                    f"{cost.idle_mib:6.1f} MiB idle, {cost.loaded_mib:6.1f} MiB after the jobs"
                )
    ours, theirs = (
        statistics.median(cost.cpu_ms_a_job for cost in costs[name])
        for name in ("daskjob", "dask-kubernetes")
    )
    print(f"per job: {ours:.1f} ms against {theirs:.1f} ms, a factor of {theirs / ours:.1f}")


if __name__ == "__main__":
    main()
