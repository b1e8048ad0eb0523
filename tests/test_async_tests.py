"""The hook that runs async tests (``tests/conftest.py``): none of them passes without being run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = """
import asyncio
import contextlib
import time

import pytest


open_loops = []


@contextlib.asynccontextmanager
async def opened():
    open_loops.append(asyncio.get_running_loop())
    yield open_loops[0]
    open_loops.clear()


@pytest.fixture
def loop():
    return opened()


@pytest.mark.parametrize("number", [1, 2])
async def test_passes_in_the_loop_of_its_fixture(loop, number):
    await asyncio.sleep(0)
    assert number
    assert loop is asyncio.get_running_loop()


@pytest.mark.usefixtures("loop")
async def test_passes_inside_its_fixture():
    assert open_loops == [asyncio.get_running_loop()]


@pytest.mark.usefixtures("loop")
async def test_fails_inside_its_fixture():
    await asyncio.sleep(0)
    assert False


@pytest.mark.virtual_time
async def test_passes_at_once():
    started = time.monotonic()
    await asyncio.sleep(3600)
    assert time.monotonic() - started < 5


@pytest.mark.timeout(0.2)
async def test_fails_since_it_takes_too_long():
    await asyncio.sleep(60)


async def never_run():
    pass


def test_fails_since_it_only_returns_a_coroutine():
    return never_run()


def test_fails_since_it_never_awaits():
    never_run()


class TestOfAClass:
    async def test_passes(self):
        await asyncio.sleep(0)
"""


def test_async_tests_are_run_and_fail_as_others_do(tmp_path: Path) -> None:
    file = tmp_path / "test_these.py"
    file.write_text(TESTS)
    options = [
        "-p",
        "pytest_timeout",
        "-c",
        "/dev/null",
        "--rootdir",
        tmp_path,
        "-p",
        "tests.conftest",
        "-W",
        "error",
    ]
    options += ["-p", "no:cacheprovider", "-vv", "--tb=short", "-o", "timeout_func_only=true"]
    command = [sys.executable, "-m", "pytest", *map(str, options), str(file)]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=False)
    results = [
        line.split()[:2] for line in done.stdout.splitlines() if " [" in line and "::" in line
    ]
    assert len(results) == 9, done.stdout
    for name, result in results:
        assert result == ("FAILED" if "test_fails" in name else "PASSED"), done.stdout
