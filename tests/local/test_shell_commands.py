"""Ways to start a scheduler or a worker, as commands of this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daskjob.backends.local.translate import (
    SCHEDULER_LAUNCHER,
    ContainerProcess,
    Machine,
    Paths,
    container_process,
    dask_command,
    with_programs,
)

MACHINE = Machine(
    comm="127.0.0.1:40001",
    dashboard="127.0.0.1:40002",
    environment={"PATH": "/bin:/usr/bin", "HOME": "/home/ada"},
    cwd=Path("/work"),
    memory_bytes=8 * 2**30,
    workers=4,
    scratch=Path("/tmp/scratch"),
    expected_workers=3,
)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("dask scheduler --port 1", ("scheduler", ["--port", "1"])),
        ("dask-worker tcp://a:1", ("worker", ["tcp://a:1"])),
        ("/opt/conda/bin/dask worker", ("worker", [])),
        ("/opt/conda/bin/dask-scheduler", ("scheduler", [])),
        ("python -m dask worker --nthreads 2", ("worker", ["--nthreads", "2"])),
        ("python3.12 -m distributed.cli.dask_scheduler", ("scheduler", [])),
        ("dask cuda worker", ("cuda", ["worker"])),
        ("python -m package", None),
        ("python worker.py", None),
        ("bash -c true", None),
        ("dask", None),
        ("", None),
    ],
)
def test_commands_of_dask_are_recognized(line: str, command: object) -> None:
    assert dask_command(line.split()) == command


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("sleep 1; dask scheduler", "sleep 1; /b/dask scheduler"),
        ("exec dask-worker --nthreads 2", "exec /b/dask worker --nthreads 2"),
        ("/opt/bin/dask  worker&&true", "/b/dask worker&&true"),
        ("python3 -m distributed.cli.dask_worker $A", "/b/dask worker $A"),
        ("(python -m dask scheduler)", "(/b/dask scheduler)"),
        ("pip install dask; dask worker", "pip install dask; /b/dask worker"),
        ("echo my-dask worker", "echo my-dask worker"),
        ("cat dask-worker.yaml", "cat dask-worker.yaml"),
        ("dask config list", "dask config list"),
    ],
)
def test_texts_of_shells_run_the_programs_of_the_run(text: str, result: str) -> None:
    assert with_programs(["sh", "-c", text], Path("/b")) == ["sh", "-c", result]


def process(component: str, words: list[str], folder: Path) -> ContainerProcess:
    pod: dict[str, Any] = {"name": "a-1", "labels": {"dask.org/component": component}}
    container = {"name": "main", "args": words}
    message = folder / "main.message"
    return container_process(container, {"metadata": pod}, MACHINE, Paths(), message)


def called(process: ContainerProcess, tmp_path: Path, *words: str) -> list[str]:
    """What a program runs: each word on a line, by a Python that prints its arguments."""
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    for path, text in process.programs.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace(sys.executable, str(fake)))
        path.chmod(0o755)
    done = subprocess.run(words, env=dict(process.env), stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("program", [["dask", "scheduler"], ["dask-scheduler"]])
def test_schedulers_of_a_shell_listen_at_the_ports_of_the_run(
    tmp_path: Path, program: list[str]
) -> None:
    shell = process("scheduler", ["sh", "start.sh"], tmp_path)
    words = called(shell, tmp_path, *program, "--port", "8786", "a b")
    assert words[:4] == [str(SCHEDULER_LAUNCHER), "--port", "8786", "a b"]
    assert words[4:8] == ["--host", "127.0.0.1", "--port", "40001"]


@pytest.mark.parametrize("program", [["dask", "worker"], ["dask-worker"]])
def test_options_of_a_shells_worker_win_but_for_its_addresses(
    tmp_path: Path, program: list[str]
) -> None:
    shell = process("worker", ["sh", "start.sh"], tmp_path)
    own = ["--name", "mine", "--host", "0.0.0.0"]
    words = called(shell, tmp_path, *program, *own)
    at = words.index("mine")
    assert words.index("a-1") < at
    assert words.index("--memory-limit") < at
    assert words[at + 3 : at + 5] == ["--host", "127.0.0.1"]


def test_other_commands_of_dask_stay_themselves(tmp_path: Path) -> None:
    shell = process("worker", ["sh", "start.sh"], tmp_path)
    assert called(shell, tmp_path, "dask", "config", "list") == ["-m", "dask", "config", "list"]


def test_only_schedulers_hold_back_clients_and_only_the_runners_path_stays(tmp_path: Path) -> None:
    variable = "DASKJOB_AGENT_EXPECTED_WORKERS"
    assert process("scheduler", ["dask", "scheduler"], tmp_path).env[variable] == "3"
    assert process("scheduler", ["sh", "a.sh"], tmp_path).env[variable] == "3"
    assert variable not in process("worker", ["dask", "worker"], tmp_path).env
    runner = process("runner", ["sh", "-c", "dask worker"], tmp_path)
    assert (runner.env["PATH"], runner.argv[-1]) == ("/bin:/usr/bin", "dask worker")
    assert variable not in runner.env
