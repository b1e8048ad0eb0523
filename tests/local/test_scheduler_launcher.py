"""The exit code of a scheduler shows whether a signal ended it, or its script shut it down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from daskjob.backends.local.translate import SCHEDULER_LAUNCHER, WITHOUT_CWD

OPTIONS = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")


@contextmanager
def started(
    folder: Path, variables: Mapping[str, str], *options: str
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(SCHEDULER_LAUNCHER), *OPTIONS, *options],
        env={**os.environ, **variables},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def address(process: subprocess.Popen[str]) -> str:
    """Wait until the scheduler runs; return its address."""
    assert process.stderr is not None
    line = next((line for line in process.stderr if "Scheduler at:" in line), "")
    return line.rpartition(" ")[2].strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_scheduler_that_a_signal_ends_exits_with_128_and_its_number(
    tmp_path: Path, number: signal.Signals
) -> None:
    with started(tmp_path, {}) as process:
        assert address(process)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == 128 + number


def test_a_scheduler_that_is_ended_while_it_starts_exits_with_143(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import asyncio, sys\nasync def dask_setup(scheduler):\n"
        "    print('starts', file=sys.stderr, flush=True)\n    await asyncio.sleep(60)\n"
    )
    with started(tmp_path, {}, "--preload", "slow.py") as process:
        assert process.stderr is not None
        assert "starts\n" in process.stderr
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 143


def test_a_scheduler_that_is_shut_down_exits_with_0(tmp_path: Path) -> None:
    with started(tmp_path, {}) as process:
        code = f"from distributed import Client; Client({address(process)!r}).shutdown()"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True)
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_a_wrong_option_exits_with_2(tmp_path: Path) -> None:
    with started(tmp_path, {}, "--no-such-option") as process:
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, "--no-such-option" in errors) == (2, True)


@pytest.mark.parametrize(
    ("variables", "shown"),
    [({}, True), ({WITHOUT_CWD: "1"}, False), ({"PYTHONSAFEPATH": "1"}, False)],
)
def test_the_working_directory_is_on_the_path_except_for_scripts(
    tmp_path: Path, variables: dict[str, str], shown: bool
) -> None:
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "look.py").write_text(
        "import os, sys\nfolder = os.path.realpath(os.getcwd())\n"
        "print('shown', folder in [os.path.realpath(p) for p in sys.path if p], file=sys.stderr)\n"
        "print('own', [p for p in sys.path if p.endswith('backends/local')], file=sys.stderr)\n"
        "sys.exit(7)\n"
    )
    variables = {**variables, "PYTHONPATH": str(modules)}
    with started(tmp_path, variables, "--preload", "look") as process:
        _, errors = process.communicate(timeout=60)
    assert f"shown {shown}\n" in errors
    assert "own []\n" in errors
    assert process.returncode == 7
