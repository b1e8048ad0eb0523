"""The ``daskjob`` command as a user has it: a separate process with a separate home.

Every process that a test's command starts, directly or not, inherits a mark in its environment;
by it leftovers are found independently of the code under test.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

#: The variable that carries a test's mark.
MARK = "DASKJOB_TEST_MARK"
#: How long a test waits before it fails: test machines may be shared and slow.
PATIENCE_SECONDS = 60.0
ROOT = Path(__file__).parents[2]

Job = dict[str, Any]


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.out.decode()

    @property
    def messages(self) -> list[str]:
        """The messages of daskjob itself, line by line."""
        return [line for line in self.err.splitlines() if line.startswith("daskjob: ")]

    @property
    def verdict(self) -> str:
        """The message with which a run has failed."""
        (found,) = [line for line in self.messages if " failed in " in line]
        return found

    def object(self) -> Job:
        """Standard output, parsed as a JSON object."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


@dataclass
class Daskjob:
    """A user's folder, home and state directory, and the command in them."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the folders."""
        self.mark = uuid.uuid4().hex
        self.state = self.folder / "state"
        self.home = self.folder / "home"
        self.temporary = self.folder / "tmp"
        self.work = self.folder / "work"
        for folder in (self.home, self.temporary, self.work):
            folder.mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every command."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("DASK", "PYTHON", "PYTEST", "XDG", "VIRTUAL_ENV", "CONDA"))
        }
        return {
            **inherited,
            "DASKJOB_STATE_DIR": str(self.state),
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "",
            "TERM": "xterm-256color",
            MARK: self.mark,
            **self.variables,
        }

    # Commands

    def start(
        self,
        *words: object,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: Any = subprocess.DEVNULL,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        **more: Any,
    ) -> subprocess.Popen[bytes]:
        """Start a command and return it while it runs."""
        return subprocess.Popen(
            [sys.executable, "-m", "daskjob", *map(str, words)],
            env={**self.environment, **(env or {})},
            cwd=cwd or self.work,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            bufsize=0,  # communicate() must get everything that a test has not read by line
            **more,
        )

    def __call__(
        self,
        *words: object,
        input: bytes | None = None,  # noqa: A002
        timeout: float = PATIENCE_SECONDS,
        **more: Any,
    ) -> Done:
        """Run a command to its end."""
        if input is not None:
            more["stdin"] = subprocess.PIPE
        return finish(self.start(*words, **more), input=input, timeout=timeout)

    def run(self, *words: object, **more: Any) -> Done:
        """Run ``daskjob run`` without workers, which most tests do not need."""
        return self("run", "--workers", 0, *words, **more)

    # Files

    def script(self, text: str, name: str = "script.py") -> Path:
        """Write a script."""
        path = self.work / name
        path.write_text(text)
        return path

    def manifest(self, job: Job, name: str = "job.json") -> Path:
        """Write a manifest."""
        path = self.work / name
        path.write_text(json.dumps(job))
        return path

    # Leftovers

    def jobs(self) -> list[Job]:
        """The jobs in the state directory, as their files contain them."""
        return [json.loads(path.read_text()) for path in self.state.glob("*/job.json")]

    def job(self, name: str = "") -> Job:
        """The only job, or the only one with this name."""
        (found,) = [job for job in self.jobs() if name in ("", job["metadata"]["name"])]
        assert isinstance(found, dict)
        return found

    def status(self, name: str = "") -> Job:
        """The status of the only job, or of the only one with this name; may be empty."""
        return dict(self.job(name).get("status") or {})

    def log(self, pod: str) -> Path:
        """The log of a pod; it may not exist yet."""
        (folder,) = {path.parent for path in self.state.glob("*/job.json")}
        return folder / "logs" / f"{pod}.log"

    def alive(self) -> list[psutil.Process]:
        """Every living process that descends from a command of this test."""
        found = []
        for process in psutil.process_iter(["environ", "status"]):
            marked = (process.info["environ"] or {}).get(MARK) == self.mark
            if marked and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def left_over(self) -> list[str]:
        """Leftovers of a run: processes and temporary files."""
        processes = [f"{p.pid}: {' '.join(cmdline(p))[:200]}" for p in self.alive()]
        return processes + [str(path) for path in self.temporary.iterdir()]

    def end(self) -> None:
        """Kill the processes that a failed test left running."""
        for process in self.alive():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue


def finish(
    process: subprocess.Popen[bytes],
    *,
    input: bytes | None = None,  # noqa: A002
    timeout: float = PATIENCE_SECONDS,
) -> Done:
    """Wait for a command to end and return its output."""
    try:
        out, err = process.communicate(input, timeout=timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        out, err = process.communicate()
        raise AssertionError(f"still running after {timeout} s; standard error: {err!r}") from None
    return Done(process.returncode, out or b"", (err or b"").decode(errors="replace"))


def cmdline(process: psutil.Process) -> list[str]:
    """The command line of a process; empty if it is gone."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def job(
    command: list[str] | str,
    *,
    name: str = "job",
    workers: int = 0,
    pod: Job | None = None,
    worker: Job | None = None,
    scheduler: Job | None = None,
    cluster: Job | None = None,
    **spec: Any,
) -> Job:
    """A DaskJob whose runner is a command or the text of a Python script."""
    words = ["python", "-c", command] if isinstance(command, str) else command
    runner = {"name": "job-runner", "args": words}
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": name},
        "spec": {
            "job": {
                "spec": {"restartPolicy": "Never", "containers": [runner], **(pod or {})},
                **spec.pop("job", {}),
            },
            "cluster": {
                "spec": {
                    "scheduler": {
                        "spec": {
                            "containers": [
                                {"name": "scheduler", "args": ["dask", "scheduler"]}
                                | (scheduler or {})
                            ]
                        }
                    },
                    "worker": {
                        "replicas": workers,
                        "spec": {
                            "containers": [
                                {"name": "worker", "args": ["dask", "worker", "--nthreads", "1"]}
                                | (worker or {})
                            ]
                        },
                    },
                    **(cluster or {}),
                }
            },
            **spec,
        },
    }
