"""The try of a task that an operator runs in: who it is, what it stores, whether it was killed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from daskjob.integrations.airflow.summary import ref_of
from daskjob.submit.generations import Identity
from daskjob.submit.jobs import JobRef

#: The key of the job in the task's store; a deployed one must stay as it is: it is stored already.
STORE_KEY = "daskjob"
_CRASHES_KEY = "daskjob_trigger_crashes"
#: Of Airflow's variables, the one that is another in each try: a retry has the same job.
_OF_A_TRY = "AIRFLOW_CTX_TRY_NUMBER"
_ANNOTATIONS = "airflow.apache.org/"


@dataclass(frozen=True, slots=True)
class Task:
    """A try of a task, from its context."""

    context: Mapping[str, Any]

    @property
    def instance(self) -> Any:
        """Airflow's task instance."""
        return self.context["ti"]

    def identity(self, prefix: str) -> Identity:
        """Return who the task is: the same for all of its tries."""
        ti = self.instance
        texts = {
            "dag_id": str(ti.dag_id),
            "task_id": str(ti.task_id),
            "run_id": str(ti.run_id),
            "map_index": str(ti.map_index),
        }
        labels = {**texts, "try_number": str(ti.try_number)}
        noted = {**texts, "log_url": str(getattr(ti, "log_url", "") or "")}
        return Identity(
            orchestrator="airflow",
            parts=tuple(texts.values()),
            prefix=prefix,
            labels=labels,
            annotations={f"{_ANNOTATIONS}{key}": text for key, text in noted.items() if text},
        )

    def variables(self) -> dict[str, str]:
        """Return what the job's script gets to know of the task, as environment variables."""
        from airflow.sdk.execution_time.context import context_to_airflow_vars

        found = context_to_airflow_vars(self.context, in_env_var_format=True)
        return {key: str(text) for key, text in found.items() if key != _OF_A_TRY}

    # What is stored

    def push(self, key: str, value: Any) -> None:
        """Store a value as an XCom of the task."""
        self.instance.xcom_push(key=key, value=value)

    def remember(self, ref: JobRef, number: int) -> None:
        """Store the job for the next tries, as far as this Airflow can."""
        store = self.context.get("task_state_store")
        if store is not None:
            value = {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid}
            store.set(STORE_KEY, {**value, "generation": number})

    def remembered(self) -> tuple[JobRef | None, int | None]:
        """Return the job of an earlier try, and its generation."""
        store = self.context.get("task_state_store")
        found = store.get(STORE_KEY) if store is not None else None
        if not isinstance(found, dict) or not found.get("name"):
            return None, None
        number = found.get("generation")
        return ref_of(found), number if isinstance(number, int) else None

    def count_crash(self) -> int:
        """Return how often the trigger of this try has crashed, this time included."""
        store, this = self.context.get("task_state_store"), int(self.instance.try_number)
        if store is None:
            return 1
        found = store.get(_CRASHES_KEY)
        known = found if isinstance(found, dict) and found.get("try") == this else {}
        count = int(known.get("count", 0)) + 1
        store.set(_CRASHES_KEY, {"try": this, "count": count})
        return count

    # Its end

    @property
    def started_at(self) -> float:
        """When the try started, in seconds; now if that is unknown."""
        found = getattr(self.instance, "start_date", None)
        return float(found.timestamp()) if found is not None else time.time()

    @property
    def has_retry(self) -> bool:
        """Whether another try follows if this one fails."""
        ti = self.instance
        return int(ti.try_number) <= int(ti.max_tries or 0)

    def state(self) -> str:
        """Return Airflow's state of the task; empty: it is unknown."""
        ti = self.instance
        index = None if ti.map_index in (None, -1) else int(ti.map_index)
        with suppress(Exception):
            found = ti.get_task_states(
                dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=index
            )
            key = ti.task_id if index is None else f"{ti.task_id}_{index}"
            return str(found[ti.run_id][key] or "")
        return ""

    def leaves_job(self) -> bool:
        """Return whether a SIGTERM leaves the job to the next try: the worker shuts down.

        A person who ends the task changes its state first. Without an answer, the job goes on too:
        its own deadline limits it.
        """
        state = self.state()
        if not state:
            return True
        return state == "running" and self.has_retry


def detached(name: str) -> str:
    """Return the message for a job that goes on without this try."""
    return (
        f"{name} continues: this process of the task was asked to end while the task is running. "
        "The next try follows the same job"
    )
