"""The flow of docs/howto/prefect.md and the example run as written."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.docs.consoles import blocks
from tests.docs.documents import ROOT
from tests.orchestrators.prefect.conftest import Place
from tests.orchestrators.prefect.server import Server

PAGE = ROOT / "docs" / "howto" / "prefect.md"


def output(server: Server, folder: Path, *words: str) -> str:
    """Return what a command prints in a folder."""
    environ = {**os.environ, **server.environment}
    command = [sys.executable if word == "python" else word for word in words]
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_commands_of_the_page(server: Server, machine: Place, tmp_path: Path) -> None:
    del machine
    found = list(blocks(PAGE))
    for block in found:
        if block.file:
            (tmp_path / block.file).write_text(block.text)
    commands = [one for block in found if block.how == "run: prefect" for one in block.commands()]
    assert commands
    for command in commands:
        printed = output(server, tmp_path, *shlex.split(command.text))
        assert printed.splitlines()[-1] == command.shown[-1]


def test_example_counts_files(server: Server, machine: Place) -> None:
    del machine
    printed = output(server, ROOT, "python", "examples/prefect/nightly.py", "--limit", "60")
    assert printed.splitlines()[-1] == "60 files counted"
