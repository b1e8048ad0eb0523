"""DAGs of tests: what cannot work. Each of them would be retried if that could help."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import DAG

from daskjob.integrations.airflow import (
    CreateDaskClusterOperator,
    DaskJobOperator,
    DaskJobSensor,
    DeleteDaskClusterOperator,
)
from tests.orchestrators.airflow.broken import TriggererWithoutPermission

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
    "rejected_token": {**JOB, "kubernetes_conn_id": "rejected"},
    "no_kubeconfig_at_all": {**JOB, "config_file": __file__},
    "no_json": {**JOB, "kubernetes_conn_id": "no_json"},
    "two_accesses": {**JOB, "kubernetes_conn_id": "two_accesses"},
    "mistakes": {"job": {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskJob", "spec": {}}},
    "no_yaml": {"job": "kind: [DaskJob"},
    "no_file": {"job_file": "missing.yaml"},
    "mistakes_in_file": {"job_file": "files/mistakes.yaml"},
    "no_yaml_in_file": {"job_file": "files/no_yaml.yaml"},
    "wrong_template_in_file": {"job_file": "files/wrong_template.yaml"},
    "unknown_name_in_file": {"job_file": "files/unknown_name.yaml"},
    "two_jobs_in_file": {"job_file": "files/two_jobs.yaml"},
    "two_sources": {**JOB, "job": "kind: DaskJob"},
    "wrong_setting": {**JOB, "settings": {"wrokers": 2}},
    "unknown_image": {**JOB, "image": "127.0.0.1:5127/team/unknown:1"},
    "private_image": {**JOB, "image": "127.0.0.1:5127/team/private:1"},
    "no_operator": {**JOB, "namespace": "default", "operator_timeout_seconds": 3},
}
#: The same of other operators.
OTHERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "triggerer_forbidden": (TriggererWithoutPermission, {**JOB, "deferrable": True}),
    "cluster_no_connection": (CreateDaskClusterOperator, {"kubernetes_conn_id": "nowhere"}),
    "cluster_forbidden": (
        CreateDaskClusterOperator,
        {"image": IMAGE, "namespace": "kube-system", "kubernetes_conn_id": "nobody"},
    ),
    "cluster_no_json": (
        CreateDaskClusterOperator,
        {"image": IMAGE, "kubernetes_conn_id": "no_json"},
    ),
    "cluster_mistakes": (
        CreateDaskClusterOperator,
        {"cluster": {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster"}},
    ),
    "cluster_wrong_setting": (CreateDaskClusterOperator, {"settings": {"wrokers": 2}}),
    "delete_forbidden": (
        DeleteDaskClusterOperator,
        {"cluster": "any", "namespace": "kube-system", "kubernetes_conn_id": "nobody"},
    ),
    "sensor_no_connection": (
        DaskJobSensor,
        {"job_name": "any", "kubernetes_conn_id": "nowhere"},
    ),
    "sensor_forbidden": (
        DaskJobSensor,
        {"job_name": "any", "namespace": "kube-system", "kubernetes_conn_id": "nobody"},
    ),
}
for name, (kind, arguments) in OTHERS.items():
    with DAG(name, start_date=datetime(2026, 1, 1), schedule=None) as found:
        kind(task_id="task", retries=2, retry_delay=timedelta(0), **arguments)
    globals()[name] = found

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
