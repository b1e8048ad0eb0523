"""Memory and CPU of an operator with 1,000 running jobs and 10,000 pods, and of its restart.

The jobs are real to the API server and to the operator, which created all of their objects; their
pods are on fake nodes.

    python benchmarks/full_cluster.py --jobs 1000 --workers 8
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._operators import benchmark_cluster, create, daskjob_operator, fake_job, until

#: After the last job runs, delayed status writes finish in this time, and garbage is collected.
SETTLE_SECONDS = 15.0
READY_SECONDS = 20.0


def main() -> None:
    """Fill the cluster, and print the operator's memory and CPU time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=8)
    arguments = parser.parse_args()
    with benchmark_cluster() as cluster:
        namespace = cluster.namespace()
        jobs = [
            fake_job(f"job-{n}", arguments.workers, ends_after="") for n in range(arguments.jobs)
        ]
        for job in jobs:
            # No progress queries: the schedulers do not exist.
            job["spec"]["progress"] = {"intervalSeconds": 0}
        with daskjob_operator(cluster, namespace) as operator:
            time.sleep(5)
            idle, started = operator.rss_mib(), time.monotonic()
            create(cluster, namespace, jobs)
            until(cluster, namespace, "Running", arguments.jobs, every=5.0)
            print(f"all running after {time.monotonic() - started:.0f} s")
            time.sleep(SETTLE_SECONDS)
            pods = cluster.count(namespace, "pods")
            print(
                f"{arguments.jobs} jobs, {pods} pods: {operator.rss_mib():.0f} MiB "
                f"({idle:.0f} MiB before), {operator.cpu_seconds():.1f} s CPU since its start"
            )
        with daskjob_operator(cluster, namespace) as operator:
            time.sleep(READY_SECONDS)
            print(
                f"restarted: {operator.rss_mib():.0f} MiB, {operator.cpu_seconds():.1f} s CPU "
                f"in {READY_SECONDS:.0f} s"
            )


if __name__ == "__main__":
    main()
