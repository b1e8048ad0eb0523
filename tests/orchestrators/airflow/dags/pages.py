"""DAGs whose tasks are looked at in a browser: one works for a while, one fails."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

from airflow.sdk import DAG

from daskjob.integrations.airflow import DaskJobOperator

#: Most of the work, then none until the runner's file is there.
TOTALS = """
import json, os, pathlib, time
from distributed import Client, Event

def total(day):
    time.sleep(0.1)
    if day >= 80:
        Event("rest").wait()
    return day * 10

if __name__ == "__main__":
    with Client() as client:
        print("reading 120 days of sales")
        totals = client.map(total, range(120))
        while not pathlib.Path("/tmp/go").exists():
            time.sleep(0.2)
        Event("rest").set()
        found = sum(client.gather(totals))
    with open(os.environ["DASKJOB_RESULT_FILE"], "w") as file:
        json.dump({"total": found}, file)
"""
FAILS = """
from distributed import Client

def amount(row):
    return row["amount"]

if __name__ == "__main__":
    with Client() as client:
        print("checking 3 rows")
        print(client.gather(client.map(amount, [{"amount": 1}, {"amount": 2}, {"price": 3}])))
"""
SMALL: dict[str, Any] = {
    "image": os.environ.get("DASKJOB_TEST_IMAGE", "ghcr.io/dask/dask:latest"),
    "n_workers": 2,
    "worker_resources": {"memory": "400Mi", "cpu": "20m"},
    "settings": {
        "runner-memory": "400Mi",
        "scheduler-memory": "400Mi",
        "runner-cpu": "20m",
        "scheduler-cpu": "20m",
    },
    # That of an ingress, as browsers reach it.
    "dashboard_url": "https://dask.example.org/{namespace}/{cluster}/status",
    "retries": 0,
}


def made(dag_id: str, task_id: str, script: str, **arguments: Any) -> DAG:
    with DAG(dag_id, start_date=datetime(2026, 1, 1), schedule=None) as found:
        DaskJobOperator(task_id=task_id, script=script, **SMALL, **arguments)
    return found


sales = made("nightly_sales", "totals", TOTALS, deferrable=True)
checks = made("nightly_checks", "amounts", FAILS)
