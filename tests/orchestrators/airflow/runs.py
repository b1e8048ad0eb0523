"""Runs DAGs in this process, as ``dag.test()`` does, and reads what Airflow has recorded."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

#: Each run of a DAG has a date of its own.
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Ran:
    """A run that has ended."""

    state: str
    #: The state of each task: by id, and by id and map index of a mapped one.
    tasks: Mapping[str, str]
    #: The number of the last try of each task.
    tries: Mapping[str, int]
    #: The XComs of each task, by key.
    xcoms: Mapping[str, Mapping[str, Any]]


@dataclass
class Runs:
    """The DAGs of a folder."""

    home: Path
    folder: Path
    _count: int = field(default=0)

    def dag(self, file: str, dag_id: str) -> Any:
        """Return a DAG of a file."""
        path = self.folder / ("" if "/" in file else "tests") / f"{file}.py"
        spec = importlib.util.spec_from_file_location(f"dags_of_tests_{path.stem}", path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found = [item for item in vars(module).values() if getattr(item, "dag_id", "") == dag_id]
        return found[0]

    def test(self, dag_id: str, file: str = "runs") -> Ran:
        """Run a DAG to its end."""
        run = self.dag(file, dag_id).test(logical_date=self._date(dag_id))
        return self._read(dag_id, run.run_id, str(run.state))

    def _date(self, dag_id: str) -> datetime:
        self._count += 1
        return _BEGIN + timedelta(days=self._count, seconds=hash(dag_id) % 1000)

    def _read(self, dag_id: str, run_id: str, state: str) -> Ran:
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.xcom import XComModel
        from airflow.utils.session import create_session

        of_run = {"dag_id": dag_id, "run_id": run_id}
        xcoms: dict[str, dict[str, Any]] = {}
        with create_session() as session:
            found = session.query(TaskInstance).filter_by(**of_run)
            tasks = {_key(ti): str(ti.state) for ti in found}
            tries = {_key(ti): int(ti.try_number) for ti in found}
            for row in session.query(XComModel).filter_by(**of_run):
                value = XComModel.deserialize_value(row)
                xcoms.setdefault(_key(row), {})[row.key] = value
        return Ran(state, tasks, tries, xcoms)


def _key(row: Any) -> str:
    return str(row.task_id) if row.map_index < 0 else f"{row.task_id}[{row.map_index}]"
