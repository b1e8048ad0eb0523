"""Servers of a script that are executed: as modules, without the working directory on the path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from daskjob.backends.local.translate import MODULE_LAUNCHER


@pytest.mark.parametrize("safe", ["", "1"])
@pytest.mark.parametrize("hiding", ["logging", "queue", "runpy"])
def test_a_module_runs_without_the_working_directory(
    tmp_path: Path, hiding: str, safe: str
) -> None:
    here, modules = tmp_path / "here", tmp_path / "modules"
    for folder in (here, modules):
        folder.mkdir()
    (here / f"{hiding}.py").write_text("raise RuntimeError('of the user')\n")
    text = f"import sys, {hiding}\nprint(__name__, sys.argv[1:], {str(here)!r} in sys.path)\n"
    (modules / "server.py").write_text(text)
    done = subprocess.run(
        [sys.executable, MODULE_LAUNCHER, "server", "--port", "0"],
        env={**os.environ, "PYTHONPATH": str(modules), "PYTHONSAFEPATH": safe},
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "__main__ ['--port', '0'] False\n", done.stderr
