"""The page about Airflow: its parts of DAGs are DAGs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from tests.docs.test_consoles import BLOCKS

PARTS = [block for block in BLOCKS if block.how == "run: airflow"]


@pytest.mark.parametrize("block", PARTS, ids=lambda block: block.place)
def test_a_part_of_a_dag_on_the_page_makes_tasks(block: Any, airflow_home: object) -> None:
    del airflow_home
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG

    from daskjob.integrations import airflow

    with DAG("page", start_date=datetime(2026, 1, 1), schedule=None) as dag:
        known = {name: EmptyOperator(task_id=name) for name in ("train", "score")}
        names: dict[str, Any] = {name: getattr(airflow, name) for name in airflow._MODULES}
        exec(block.text, names | known)
    assert PARTS
    assert set(dag.task_ids) >= set(known)
