"""Real schedulers and workers as processes of this machine, with the agent injected as text."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from daskjob.core.desired.agent import AgentGroup, agent_environment, shortened
from tests.waiting import PATIENCE_SECONDS, wait_until

#: As the operator adds it to pods.
SOURCE = shortened((Path(__file__).parents[2] / "daskjob" / "agent.py").read_text())
TOKEN = "a token of 23 characters"

Answer = dict[str, Any]


class Process:
    """A child process with its output in a file, killed at the end if it is still running."""

    def __init__(self, log: Path, arguments: list[str], environment: Mapping[str, str]):
        self.log = log
        clean = {k: v for k, v in os.environ.items() if not k.startswith("DASK")}
        with log.open("wb") as out:
            self.child = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                env=clean | {"PYTHONWARNINGS": "ignore"} | dict(environment),
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def end(self, how: int = signal.SIGKILL) -> None:
        if self.child.poll() is None:
            self.child.send_signal(how)
        self.child.wait(PATIENCE_SECONDS)


class Cluster:
    """A scheduler with the agent, its workers, and a client of the agent."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.prefix = ""
        self.workers: dict[str, Process] = {}
        self.clients: list[Client] = []

    def start(self, *arguments: str, environment: Mapping[str, str]) -> Cluster:
        information = self.folder / "scheduler.json"
        self.scheduler = Process(
            self.folder / "scheduler.log",
            [
                "distributed.cli.dask_scheduler",
                "--host=127.0.0.1",
                "--port=0",
                "--dashboard-address=127.0.0.1:0",
                f"--scheduler-file={information}",
                *arguments,
            ],
            environment,
        )

        def ready() -> bool:
            assert self.scheduler.child.poll() is None, self.scheduler.output
            # The file may be half written.
            with contextlib.suppress(OSError, ValueError):
                self.identity = json.loads(information.read_text())
                return True
            return False

        wait_until(ready, shows="the scheduler listens")
        self.address = self.identity["address"]
        self.port = self.identity["services"]["dashboard"]
        return self

    def add_workers(self, *names: str, arguments: tuple[str, ...] = ()) -> None:
        for name in names:
            self.workers[name] = Process(
                self.folder / f"{name}.log",
                [
                    "distributed.cli.dask_worker",
                    self.address,
                    "--host=127.0.0.1",
                    "--no-dashboard",
                    "--nthreads=1",
                    "--memory-limit=1GB",
                    f"--name={name}",
                    f"--local-directory={self.folder}",
                    *(arguments or ("--no-nanny",)),
                ],
                {},
            )
        wanted = set(self.workers)
        wait_until(lambda: wanted <= self.rows().keys(), shows=f"{sorted(wanted)} are registered")

    def client(self) -> Client:
        client = Client(self.address, timeout=PATIENCE_SECONDS)
        self.clients.append(client)
        return client

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        token: str | None = TOKEN,
        method: str | None = None,
    ) -> tuple[int, Answer]:
        """Send one request, bytes as they are; return (HTTP status, JSON)."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{self.prefix}/daskjob/v1/{path}",
            data=body if body is None or isinstance(body, bytes) else json.dumps(body).encode(),
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                body = error.read()
                is_json = error.headers.get_content_type() == "application/json"
                return error.code, json.loads(body) if is_json else {}

    def state(self) -> Answer:
        status, answer = self.ask("state")
        assert status == 200, answer
        return answer

    def report(self) -> Answer:
        status, answer = self.ask("report")
        assert status == 200, answer
        return answer

    def tasks(self) -> Answer:
        tasks: Answer = self.state()["tasks"]
        return tasks

    def rows(self) -> dict[str, Answer]:
        """Return the workers by name."""
        with contextlib.suppress(urllib.error.URLError):
            workers = self.state()["workers"]
            rows = [dict(zip(workers["columns"], row, strict=True)) for row in workers["rows"]]
            return {row["name"]: row for row in rows}
        return {}

    def addresses(self, *names: str) -> list[str]:
        rows = self.rows()
        return [rows[name]["address"] for name in names]

    def settled(self, **expected: int) -> Answer:
        """Return the tasks as soon as they have the expected counts, or fail with the last ones."""
        last: Answer = {}

        def reached() -> bool:
            last.update(self.tasks())
            return all(last[key] == value for key, value in expected.items())

        wait_until(reached, PATIENCE_SECONDS, lambda: f"wanted {expected}, got {last}")
        return last

    def end(self) -> None:
        for client in self.clients:
            client.close()
        for process in [*self.workers.values(), self.scheduler]:
            process.end()


Start = Callable[..., Cluster]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a scheduler with the agent: ``start(*arguments, source=…, groups=…, own=…)``."""
    clusters: list[Cluster] = []

    def starter(
        *arguments: str,
        source: str = SOURCE,
        groups: tuple[AgentGroup, ...] = (),
        own: Mapping[str, str] | None = None,
        more: Mapping[str, str] | None = None,
    ) -> Cluster:
        own = own or {}
        ours = agent_environment(source, token=TOKEN, groups=groups, environment=own)
        cluster = Cluster(Path(tempfile.mkdtemp(dir=tmp_path)))
        try:
            cluster.start(*arguments, environment={**own, **ours, **(more or {})})
        finally:
            clusters.append(cluster)
        return cluster

    yield starter
    for cluster in clusters:
        cluster.end()


def agent_answers(cluster: Cluster) -> Cluster:
    """Return the cluster once its agent answers: preloads run after the file is written."""

    def answered() -> bool:
        try:
            return cluster.ask("state")[0] == 200
        except (urllib.error.URLError, ValueError):
            return False

    wait_until(answered, shows="the agent answers: " + cluster.scheduler.output[-2000:])
    return cluster


@pytest.fixture
def cluster(start: Start) -> Cluster:
    """A scheduler with the agent, without workers."""
    return agent_answers(start())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One scheduler for read-only tests."""
    cluster = Cluster(tmp_path_factory.mktemp("shared"))
    try:
        cluster.start(environment=agent_environment(SOURCE, token=TOKEN))
        yield agent_answers(cluster)
    finally:
        cluster.end()
