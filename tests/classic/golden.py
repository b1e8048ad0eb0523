"""Makes the golden outputs of the builders: ``python -m tests.classic.golden``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cluster.cache import cache_folder, exclusive

DATA = Path(__file__).parents[1] / "data" / "classic"
CASES, GOLDEN = DATA / "cases.json", DATA / "golden.json"
#: The last release with the classic class, and what it needs besides its own requirements.
PACKAGES = (
    *("dask-kubernetes==2024.4.2", "sniffio", "kubernetes==36.0.3", "kr8s==0.14.6"),
    *("kubernetes_asyncio==36.1.0", "distributed==2026.8.0"),
)


def environment() -> Path:
    """Return the ``bin`` folder of an environment with these packages, created once."""
    folder = cache_folder() / PACKAGES[0].replace("==", "-")
    with exclusive("dask-kubernetes"):
        if not (folder / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            install = [str(folder / "bin" / "pip"), "install", "--quiet", *PACKAGES]
            subprocess.run(install, check=True)
            (folder / "complete").touch()
    return folder / "bin"


def golden() -> dict[str, Any]:
    """Return the golden outputs that are stored."""
    found: dict[str, Any] = json.loads(GOLDEN.read_text())
    return found


def main() -> None:
    command = [str(environment() / "python"), str(DATA / "make_golden.py"), str(GOLDEN)]
    variables = {**os.environ, "LOGNAME": "jane", "DASK_CONFIG": "/nonexistent"}
    with CASES.open() as cases:
        done = subprocess.run(
            command, stdin=cases, capture_output=True, text=True, check=False, env=variables
        )
    if done.returncode:
        sys.exit(done.stderr)


if __name__ == "__main__":
    main()
