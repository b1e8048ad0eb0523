"""A DAG whose tasks tests defer themselves; nothing runs it."""

from __future__ import annotations

import os
from datetime import datetime

from airflow.sdk import DAG

from daskjob.integrations.airflow import DaskJobOperator

#: The last one is the gauge.
COUNT = int(os.environ.get("DASKJOB_TEST_CROWD", "41"))

with DAG("crowd", start_date=datetime(2026, 1, 1), schedule=None) as crowd:
    DaskJobOperator.partial(task_id="task", image="none").expand(
        args=[[str(number)] for number in range(COUNT)]
    )
