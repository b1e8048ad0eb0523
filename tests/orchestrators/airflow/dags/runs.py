"""DAGs of tests: one per way in which a job ends."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

from airflow.sdk import DAG, task

from daskjob.integrations.airflow import (
    CreateDaskClusterOperator,
    DaskJobOperator,
    DaskJobSensor,
    DeleteDaskClusterOperator,
)
from tests.orchestrators.airflow.cloud import CloudOperator

IMAGE = os.environ.get("DASKJOB_TEST_IMAGE", "ghcr.io/dask/dask:latest")
BEGIN = datetime(2026, 1, 1)

#: Writes its arguments as its result; with a number, it ends with that exit code.
ECHO = """
import json, os, sys
print("arguments", *sys.argv[1:])
if sys.argv[-1].isdecimal():
    raise SystemExit(int(sys.argv[-1]))
with open(os.environ["DASKJOB_RESULT_FILE"], "w") as file:
    json.dump({"args": sys.argv[1:], "dag": os.environ["AIRFLOW_CTX_DAG_ID"]}, file)
"""
SUMS = """
import json, os
from distributed import Client
if __name__ == "__main__":
    with Client() as client:
        total = client.submit(sum, range(100)).result()
    with open(os.environ["DASKJOB_RESULT_FILE"], "w") as file:
        json.dump({"total": total}, file)
"""
SMALL = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "400Mi"}}


def container(name: str, *args: str) -> dict[str, Any]:
    return {
        "name": name,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "args": list(args),
        "resources": SMALL,
    }


def manifest(*runner: str, **spec: Any) -> dict[str, Any]:
    """A DaskJob whose runner runs a program; its cluster only sleeps."""

    def pod(*containers: dict[str, Any]) -> dict[str, Any]:
        return {"spec": {"terminationGracePeriodSeconds": 1, "containers": list(containers)}}

    sleeps = ("sleep", "3600")
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": "echo"},
        "spec": {
            "backoffLimit": 0,
            "job": pod(container("job", *runner)),
            "cluster": {
                "spec": {
                    "scheduler": pod(container("scheduler", *sleeps)),
                    "worker": {"replicas": 1, **pod(container("worker", *sleeps))},
                }
            },
            **spec,
        },
    }


def echo(*args: str, **spec: Any) -> dict[str, Any]:
    return manifest("python", "-c", ECHO, *args, **spec)


def dag(dag_id: str) -> DAG:
    return DAG(dag_id, start_date=BEGIN, schedule=None)


def both(dag_id: str, **arguments: Any) -> list[DAG]:
    """Make two DAGs of one task: one waits in the task, the other in the triggerer."""
    made = []
    for deferrable in (False, True):
        with dag(f"{dag_id}_deferred" if deferrable else dag_id) as found:
            DaskJobOperator(task_id="task", deferrable=deferrable, **arguments)
        made.append(found)
    return made


succeeds, succeeds_deferred = both("succeeds", job=echo("{{ ds }}"))
fails, fails_deferred = both("fails", job=echo("3"))
overdue, overdue_deferred = both(
    "overdue", job=manifest("sleep", "600", activeDeadlineSeconds=1), get_logs=False
)

with dag("mapped") as mapped:
    DaskJobOperator.partial(task_id="task", deferrable=True).expand(
        job=[echo("first"), echo("second")]
    )

with dag("file") as file:
    DaskJobOperator(task_id="task", job_file="files/echo.yaml", image=IMAGE)

with dag("deleted") as deleted:
    for finish in ("keep_job", "delete_job", "delete_succeeded_job"):
        for word in ("done", "3"):
            DaskJobOperator(
                task_id=f"{finish}_{word}",
                job=echo(word, progress={"intervalSeconds": 0}),
                on_finish_action=finish,
                get_logs=False,
                log_events_on_failure=False,
            )

with dag("script") as script:
    DaskJobOperator(
        task_id="sums",
        script=SUMS,
        image=IMAGE,
        n_workers=1,
        worker_resources={"memory": "400Mi", "cpu": "50m"},
        settings={"runner-memory": "400Mi", "scheduler-memory": "400Mi"},
        retries=0,
    )

with dag("cluster") as cluster:
    create = CreateDaskClusterOperator(
        task_id="create",
        image=IMAGE,
        n_workers=1,
        worker_resources={"memory": "400Mi", "cpu": "50m"},
        settings={"scheduler-memory": "400Mi"},
    )
    on_it = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": "on-it"},
        "spec": {
            "clusterRef": {"name": "{{ ti.xcom_pull('create')['name'] }}"},
            "job": {"spec": {"containers": [container("job", "python", "-c", SUMS)]}},
        },
    }
    work = DaskJobOperator(task_id="work", job=on_it, wait_for_completion=False)
    wait = DaskJobSensor(
        task_id="wait",
        job_name="{{ ti.xcom_pull('work', key='job_name') }}",
        poke_interval=1,
    )
    delete = DeleteDaskClusterOperator(task_id="delete", cluster=create.output)
    create.as_setup() >> work >> wait >> delete.as_teardown(setups=create)

with dag("cloud") as cloud:
    CloudOperator(task_id="task", job=echo("cloud"), deferrable=True)

with dag("decorated") as decorated:

    @task.daskjob(local=True, n_workers=1)
    def total(numbers: list[int], *, factor: int = 1) -> int:
        from distributed import Client

        with Client() as client:
            return int(client.submit(sum, numbers).result()) * factor

    total([1, 2, 3], factor=7)

with dag("here") as here:
    DaskJobOperator(task_id="sums", script=SUMS, n_workers=1, local=True)
    DaskJobOperator.partial(task_id="echo", script=ECHO, local=True, n_workers=0).expand(
        args=[["{{ ds }}", "a b"], ["7"]]
    )
