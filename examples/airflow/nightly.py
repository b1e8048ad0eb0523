"""A nightly DAG: count Python's own source files on Dask workers, and check the result.

It needs ``pip install 'daskjob[airflow]'``, a connection ``kubernetes_default``, and a cluster with
daskjob's operator. ``DASKJOB_HERE=1`` runs the job on the machine of Airflow's worker instead.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, task

from daskjob.integrations.airflow import DEFAULT_RETRY_POLICY, DaskJobOperator

with DAG(
    "nightly_census",
    schedule="@daily",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    tags=["dask"],
) as nightly:
    census = DaskJobOperator(
        task_id="census",
        script="../stdlib_census/census.py",
        args=["--limit", "400"],
        image=os.environ.get("DASKJOB_IMAGE"),
        n_workers=2,
        worker_resources={"cpu": "200m", "memory": "600Mi"},
        settings={"runner-memory": "600Mi", "scheduler-memory": "600Mi"},
        local=bool(os.environ.get("DASKJOB_HERE")),
        deferrable=True,
        # The job itself ends with the task: Airflow's limit is its deadline.
        execution_timeout=timedelta(hours=1),
        retries=2,
        retry_policy=DEFAULT_RETRY_POLICY,
    )

    @task  # type: ignore[untyped-decorator]
    def check(result: dict[str, Any]) -> int:
        """Fail the run if files are missing; return their number."""
        files = int(result["files"])
        assert files == 400, f"only {files} files: is this Python complete?"
        return files

    check(census.output)
