"""Defers the tasks of a run as a worker would, without a worker for each of them.

A program, since it works on the database of Airflow's own processes: ``python -m
tests.orchestrators.airflow.defer DAG RUN FILE``. The file has, for each task of the run by map
index, the class and the arguments of its trigger.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def defer(dag_id: str, run_id: str, triggers: list[tuple[str, dict[str, Any]]]) -> None:
    """Defer each task of a run."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session

    with create_session() as session:
        found = session.query(TaskInstance).filter_by(dag_id=dag_id, run_id=run_id)
        tasks = found.order_by(TaskInstance.map_index).all()
        for task, (classpath, arguments) in zip(tasks, triggers, strict=True):
            trigger = Trigger(classpath=classpath, kwargs=arguments)
            session.add(trigger)
            session.flush()
            task.state = "deferred"
            task.trigger_id = trigger.id
            task.next_method = "execute_complete"
            task.try_number = 1
            task.start_date = datetime.now(UTC)


if __name__ == "__main__":
    defer(sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text()))
