"""A flow that runs the census of Python's standard library as a DaskJob, and judges its result.

    pip install "daskjob[prefect]"
    python nightly.py                            # on this machine, on Prefect's temporary server
    python nightly.py --cluster --namespace team # the manifest beside the census, on a cluster

The page of the flow run shows the job's log, how many of its tasks are done, and the link to Dask's
dashboard. A failure of the cluster is retried; one of the script is not.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from prefect import flow, task

from daskjob.integrations.prefect import (
    DaskJob,
    cancel_daskjobs_hook,
    retry_infrastructure,
    run_daskjob,
)

CENSUS = Path(__file__).parent.parent / "stdlib_census"


def on_this_machine(limit: int) -> DaskJob:
    """Return the census of some files, on this machine."""
    return DaskJob(
        command=[sys.executable, str(CENSUS / "census.py"), "--limit", str(limit)],
        n_workers=2,
        local=True,
    )


def on_a_cluster(namespace: str) -> DaskJob:
    """Return the census of its manifest."""
    return DaskJob.from_yaml_file(CENSUS / "job.yaml", namespace=namespace)


@task
def judged(census: dict[str, Any]) -> int:
    """Return the number of files that were counted."""
    counted = int(census["files"])
    if not counted:
        raise ValueError("the census has found no file")
    return counted


@flow(name="nightly-census", on_cancellation=[cancel_daskjobs_hook])
def nightly(job: DaskJob) -> int:
    """Run the census; return the number of files."""
    careful = run_daskjob.with_options(
        retries=2, retry_delay_seconds=30, retry_condition_fn=retry_infrastructure
    )
    counted: int = judged(careful(job))
    return counted


def main() -> None:
    """Run the flow once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cluster", action="store_true", help="run on a cluster")
    parser.add_argument("--namespace", default="", help="the namespace of the job there")
    parser.add_argument("--limit", type=int, default=200, help="files to read on this machine")
    arguments = parser.parse_args()
    wanted = (
        on_a_cluster(arguments.namespace) if arguments.cluster else on_this_machine(arguments.limit)
    )
    print(f"{nightly(wanted)} files counted")


if __name__ == "__main__":
    main()
