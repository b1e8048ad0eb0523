"""DAGs for tests of the servers: jobs that run until a person, or a signal, ends them."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG, ExceptionRetryPolicy, RetryAction, RetryRule

from daskjob.integrations.airflow import DEFAULT_RETRY_POLICY, DaskJobOperator
from tests.orchestrators.airflow.broken import CrashingOperator

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


def waiting(**more: Any) -> dict[str, Any]:
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
        **more,
    }
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": "waits"},
        "spec": spec,
    }


def made(dag_id: str, kind: type[DaskJobOperator] = DaskJobOperator, **arguments: Any) -> DAG:
    given = {"job": waiting(), "retry_delay": timedelta(seconds=1), **arguments}
    with DAG(dag_id, start_date=datetime(2026, 1, 1), schedule=None) as found:
        kind(task_id="task", **given)
    return found


once = made("once", retries=0)
again = made("again", retries=2)
deferred = made("deferred", retries=1, deferrable=True)
crashes = made("crashes", CrashingOperator, retries=0, deferrable=True)

#: The policy is what retries within seconds; without it, a retry would come after a day. The job
#: itself gives up at the first eviction.
evicted = made(
    "evicted",
    job=waiting(failurePolicy={"maxIgnored": 0}),
    retries=1,
    retry_delay=timedelta(days=1),
    retry_policy=DEFAULT_RETRY_POLICY,
)
#: As the page about Airflow shows it: an error of the program fails the task at once.
NO_BUGS = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception="daskjob.core.errors.UserFailure",
            action=RetryAction.FAIL,
            reason="the program would fail again",
        ),
        *DEFAULT_RETRY_POLICY.rules,
    ]
)
bug = made(
    "bug",
    job=None,
    script="import sys\nsys.exit('no such table')",
    image=IMAGE,
    n_workers=1,
    worker_resources={"memory": "300Mi", "cpu": "20m"},
    settings={"runner-memory": "300Mi", "scheduler-memory": "300Mi", "runner-cpu": "20m"},
    retries=3,
    retry_policy=NO_BUGS,
)
#: What OpenLineage gets to know: of a job without a cluster, that writes what it got.
PARENT = """
import json, os
with open(os.environ["DASKJOB_RESULT_FILE"], "w") as file:
    json.dump({"parent": os.environ["OPENLINEAGE_PARENT_ID"]}, file)
"""
here: dict[str, Any] = {"job": None, "local": True, "n_workers": 0, "retries": 0}
lineage = made("lineage", script=PARENT, **here)
lineage_fails = made("lineage_fails", script="import sys\nsys.exit(7)", **here)
