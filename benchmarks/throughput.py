"""How many jobs per minute one operator on one core completes, on fake nodes.

All jobs are created at once, and each ends as soon as its runner runs. The API server, etcd, the
scheduler and kwok share the machine: if the operator uses little of its core, they are the
bottleneck.

    python benchmarks/throughput.py --jobs 300 --workers 3
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks._operators import (
    benchmark_cluster,
    create,
    daskjob_operator,
    fake_job,
    until,
    until_cleaned_up,
)


def main() -> None:
    """Run the jobs, and print the times and the rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--workers", type=int, default=3)
    arguments = parser.parse_args()
    core = str(max(os.sched_getaffinity(0)))
    with benchmark_cluster() as cluster:
        namespace = cluster.namespace()
        with daskjob_operator(cluster, namespace, cpus=core) as operator:
            create(cluster, namespace, [fake_job("warm", arguments.workers)])
            until(cluster, namespace, "Successful", 1)
            jobs = [fake_job(f"job-{n}", arguments.workers) for n in range(arguments.jobs)]
            cpu, started = operator.cpu_seconds(), time.monotonic()
            creating = threading.Thread(target=create, args=(cluster, namespace, jobs))
            creating.start()
            creating.join()
            created = time.monotonic() - started
            until(cluster, namespace, "Successful", arguments.jobs + 1, every=2.0)
            seconds = time.monotonic() - started
            until_cleaned_up(cluster, namespace, arguments.jobs + 1)
            cleaned = time.monotonic() - started
            used = operator.cpu_seconds() - cpu
            print(
                f"{arguments.jobs} jobs, {arguments.workers} workers each: "
                f"created in {created:.0f} s, all ended in {seconds:.0f} s, "
                f"cleaned up in {cleaned:.0f} s; "
                f"{60 * arguments.jobs / seconds:.0f} jobs per minute; the operator used "
                f"{100 * used / cleaned:.0f} % of its core, {1000 * used / arguments.jobs:.1f} ms "
                f"per job, and has {operator.rss_mib():.0f} MiB"
            )


if __name__ == "__main__":
    main()
