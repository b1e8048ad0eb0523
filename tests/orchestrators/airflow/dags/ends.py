"""DAGs for tests of the servers: jobs that run until a person, or a signal, ends them."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG

from daskjob.integrations.airflow import DaskJobOperator

IMAGE = os.environ.get("DASKJOB_TEST_IMAGE", "ghcr.io/dask/dask:latest")
#: Runs until a file is there, in a volume of the node: tests create it by ``kubectl exec``.
WAITS = """
import json, os, pathlib, time
print("the job waits", flush=True)
while not pathlib.Path("/tmp/go").exists():
    time.sleep(0.2)
with open(os.environ["DASKJOB_RESULT_FILE"], "w") as file:
    json.dump({"done": True}, file)
"""


def waiting() -> dict[str, Any]:
    """A DaskJob that runs until it may end; its cluster only sleeps."""

    def pod(name: str, *args: str) -> dict[str, Any]:
        container = {
            "name": name,
            "image": IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "args": list(args),
            "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}},
        }
        return {"spec": {"terminationGracePeriodSeconds": 1, "containers": [container]}}

    cluster = {
        "scheduler": pod("scheduler", "sleep", "3600"),
        "worker": {"replicas": 1, **pod("worker", "sleep", "3600")},
    }
    spec = {
        "backoffLimit": 0,
        "job": pod("job", "python", "-c", WAITS),
        "cluster": {"spec": cluster},
    }
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": "waits"},
        "spec": spec,
    }


def made(dag_id: str, **arguments: Any) -> DAG:
    with DAG(dag_id, start_date=datetime(2026, 1, 1), schedule=None) as found:
        DaskJobOperator(
            task_id="task", job=waiting(), retry_delay=timedelta(seconds=1), **arguments
        )
    return found


once = made("once", retries=0)
again = made("again", retries=2)
deferred = made("deferred", retries=1, deferrable=True)
