"""DAGs of tests: what cannot work. Each of them would be retried if that could help."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG

from daskjob.integrations.airflow import DaskJobOperator

IMAGE = os.environ.get("DASKJOB_TEST_IMAGE", "ghcr.io/dask/dask:latest")
JOB: dict[str, Any] = {
    "image": IMAGE,
    "args": ["python", "-c", "print('runs')"],
    "n_workers": 1,
    "worker_resources": {"memory": "300Mi", "cpu": "50m"},
    "settings": {"runner-memory": "300Mi", "scheduler-memory": "300Mi"},
}
#: What is wrong, by the name of the DAG.
WRONG: dict[str, dict[str, Any]] = {
    "no_connection": {**JOB, "kubernetes_conn_id": "nowhere"},
    "no_kubeconfig": {**JOB, "config_file": "/nonexistent/kubeconfig"},
    "no_context": {**JOB, "cluster_context": "nowhere"},
    "no_permission": {**JOB, "namespace": "kube-system", "kubernetes_conn_id": "nobody"},
    "mistakes": {"job": {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskJob", "spec": {}}},
    "no_yaml": {"job": "kind: [DaskJob"},
    "no_file": {"job_file": "missing.yaml"},
    "two_sources": {**JOB, "job": "kind: DaskJob"},
    "wrong_setting": {**JOB, "settings": {"wrokers": 2}},
    "unknown_image": {**JOB, "image": "127.0.0.1:5127/team/unknown:1"},
    "private_image": {**JOB, "image": "127.0.0.1:5127/team/private:1"},
    "no_operator": {**JOB, "namespace": "default", "operator_timeout_seconds": 3},
}
for name, arguments in WRONG.items():
    for deferrable in (False, True):
        with DAG(
            f"{name}_deferred" if deferrable else name,
            start_date=datetime(2026, 1, 1),
            schedule=None,
        ) as found:
            DaskJobOperator(
                task_id="task",
                deferrable=deferrable,
                retries=2,
                retry_delay=timedelta(0),
                **arguments,
            )
        globals()[found.dag_id] = found
