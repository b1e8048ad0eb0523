"""Fixtures of the local backend's tests: a run each, and a check that none of it is left."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_until

Eventually = Callable[[Callable[[], object]], object]

DEADLINE_SECONDS = 15.0


def alive_in(run: str) -> list[int]:
    """Return the pids with a run's marker, independently of the code under test."""
    found = []
    for process in psutil.process_iter(["environ", "status"]):
        environ = process.info["environ"] or {}
        marked = environ.get("DASKJOB_PROCESS", "").startswith(f"{run}/")
        supervisor = environ.get("DASKJOB_SUPERVISOR") == run
        if (marked or supervisor) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


@pytest.fixture
def eventually() -> Eventually:
    return wait_until


@pytest.fixture
def alive() -> Callable[[str], list[int]]:
    return alive_in


@pytest.fixture
def make_run() -> Iterator[Callable[[], str]]:
    """Return markers of new runs; no process of them may be left when the test ends."""
    runs: list[str] = []

    def new_run() -> str:
        runs.append(f"test-{uuid.uuid4().hex[:12]}")
        return runs[-1]

    yield new_run
    left = {run: pids for run in runs if (pids := alive_in(run))}
    for pid in [pid for pids in left.values() for pid in pids]:
        psutil.Process(pid).kill()
    assert not left, f"processes were left behind: {left}"


@pytest.fixture
def run(make_run: Callable[[], str]) -> str:
    return make_run()


@pytest.fixture(autouse=True)
def nothing_leaks() -> Iterator[None]:
    """Check that the test leaves no open descriptor, running child or zombie in this process."""
    before = len(os.listdir("/dev/fd"))
    children = set(psutil.Process().children())
    yield
    assert set(psutil.Process().children()) <= children
    assert len(os.listdir("/dev/fd")) <= before


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "process.log"
