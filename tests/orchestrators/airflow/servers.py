"""Airflow's four processes on loopback, and what a person does in its pages, by its REST API."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.waiting import wait_until

#: How long a state may take on a machine that does much else.
PATIENCE = 180.0
_COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@dataclass
class Servers:
    """A scheduler with its executor, a triggerer, a DAG processor, and the API server."""

    home: Path
    dags: Path
    variables: dict[str, str]
    port: int = field(default_factory=_free_port)
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _token: str = ""

    @property
    def url(self) -> str:
        """The address of the web pages."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def lineage(self) -> Path:
        """The file of the events of OpenLineage, one per line."""
        return self.home / "lineage.jsonl"

    def environment(self) -> dict[str, str]:
        """The environment of all processes."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "KUBE"))}
        return {
            **kept,
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            # Machines are shared: a task whose file is imported slowly is started again later.
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-of-tests-" * 5,
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            # By default, each file is imported again every 30 s, for a second or two of CPU; so it
            # must not be given up before it is imported once.
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
            "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "300",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
                {"type": "file", "log_file_path": str(self.lineage), "append": True}
            ),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(_free_port()),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(_free_port()),
            **self.variables,
        }

    # Its processes

    def start(self) -> None:
        """Start all, and wait until each reports that it is healthy."""
        self.home.mkdir(exist_ok=True)
        subprocess.run(
            [*self._airflow, "db", "migrate"],
            env=self.environment(),
            check=True,
            capture_output=True,
        )
        for name in _COMPONENTS:
            self.start_one(name)
        wait_until(self._is_healthy, PATIENCE, self.logs, pause=0.5)

    def start_one(self, name: str) -> None:
        """Start one component."""
        with (self.home / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [*self._airflow, name],
                env=self.environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop_one(self, name: str) -> None:
        """Stop one component with its own processes."""
        process = self._processes.pop(name)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        # A task that was running outlives its scheduler.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def memory_mib(self, name: str) -> float:
        """Return the memory of a component, with its own processes."""
        process = psutil.Process(self._processes[name].pid)
        each = [process, *process.children(recursive=True)]
        return sum(float(one.memory_info().rss) for one in each) / 2**20

    def crash_runner_of_triggers(self) -> None:
        """Kill the process of the triggerer that runs triggers; the triggerer ends with it."""
        process = self._processes.pop("triggerer")
        for child in psutil.Process(process.pid).children():
            child.kill()
        process.wait(PATIENCE)

    def stop(self) -> None:
        """Stop all."""
        for name in reversed([*self._processes]):
            self.stop_one(name)

    @property
    def _airflow(self) -> list[str]:
        return [str(Path(sys.executable).with_name("airflow"))]

    def _is_healthy(self) -> bool:
        try:
            found = self.get("/api/v2/monitor/health")
        except OSError:
            return False
        return all(
            (found.get(name) or {}).get("status") == "healthy"
            for name in ("metadatabase", "scheduler", "triggerer", "dag_processor")
        )

    def logs(self) -> str:
        """Return the ends of the logs of all components."""
        texts = [(name, self.home / f"{name}.log") for name in _COMPONENTS]
        return "\n".join(
            f"== {name}\n{path.read_text()[-2000:]}" for name, path in texts if path.exists()
        )

    # What a person does

    def get(self, path: str) -> Any:
        """Return what a GET answers."""
        return self._request("GET", path)

    def _request(self, method: str, path: str, body: object = None) -> Any:
        if not self._token and path != "/auth/token":
            self._token = self._request("GET", "/auth/token")["access_token"]
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise OSError(f"{method} {path}: {error.code} {error.read().decode()[:400]}") from None
        return json.loads(text) if text else None

    def trigger(self, dag_id: str, run_id: str, *, paused: bool = False) -> None:
        """Start a run of a DAG as soon as its file was read; nothing runs its tasks if paused."""

        def known() -> bool:
            try:
                self._request("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": paused})
            except OSError:
                return False
            return True

        wait_until(known, PATIENCE, self.logs, pause=0.5)
        body = {"dag_run_id": run_id, "logical_date": None}
        self._request("POST", f"/api/v2/dags/{dag_id}/dagRuns", body)

    def task(self, dag_id: str, run_id: str, task_id: str = "task") -> Any:
        """Return the state of a task."""
        return self.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")

    def tasks(self, dag_id: str, run_id: str) -> list[Any]:
        """Return the states of all tasks of a run."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        found: list[Any] = []
        while True:
            page = self.get(f"{path}?limit=100&offset={len(found)}")
            found += page["task_instances"]
            if len(found) >= page["total_entries"]:
                return found

    def until(
        self, dag_id: str, run_id: str, *states: str, tries: int = 1, task_id: str = "task"
    ) -> Any:
        """Wait until a task is in one of these states, in this try or a later one."""

        def found() -> Any:
            task = self.task(dag_id, run_id, task_id)
            is_it = task["state"] in states and task["try_number"] >= tries
            return task if is_it else None

        def shown() -> str:
            return f"{self.task(dag_id, run_id, task_id)}\n{self.logs()}"

        return wait_until(found, PATIENCE, shown, pause=0.3)

    def until_logged(self, dag_id: str, run_id: str, number: int, text: str) -> None:
        """Wait until the log of a try has a text."""

        def found() -> bool:
            try:
                return text in self.log(dag_id, run_id, number)
            except OSError:
                return False

        def shown() -> str:
            return f"{self.task(dag_id, run_id)}\n{self.logs()}"

        wait_until(found, PATIENCE, shown, pause=0.5)

    def mark(self, dag_id: str, run_id: str, state: str) -> None:
        """Mark a task as failed or successful."""
        self._request(
            "PATCH",
            f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/task",
            {"new_state": state},
        )

    def clear(self, dag_id: str, run_id: str) -> None:
        """Clear a task whose run has ended: it runs again.

        The scheduler ends a run some time after its last task. On SQLite, which locks no rows, it
        would end it over the clear, and start nothing.
        """
        run = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}"
        ended = ("success", "failed")
        wait_until(lambda: self.get(run)["state"] in ended, PATIENCE, self.logs, pause=0.3)
        body = {"dry_run": False, "task_ids": ["task"], "dag_run_id": run_id}
        body |= {"only_failed": False, "reset_dag_runs": True}
        self._request("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", body)

    def links(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return the extra links of a task, as its page shows them."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/task/links"
        found: dict[str, Any] = self.get(path)["extra_links"]
        return found

    def log(self, dag_id: str, run_id: str, number: int = 1) -> str:
        """Return the log of a try, as its page shows it."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/task/logs/{number}"
        found = self.get(f"{path}?full_content=true")["content"]
        return "\n".join(item if isinstance(item, str) else json.dumps(item) for item in found)

    def returned(self, dag_id: str, run_id: str) -> Any:
        """Return what a task has returned."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/task"
        return self.get(f"{path}/xcomEntries/return_value?deserialize=true")["value"]

    def process_of_task(self, dag_id: str, run_id: str) -> int:
        """Return the process in which a running task runs."""
        found: int = wait_until(lambda: self.task(dag_id, run_id)["pid"], PATIENCE, pause=0.2)
        return found
