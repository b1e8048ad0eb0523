"""Python environments with other programs, to compare with; each is created once, in the cache."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cluster.cache import cache_folder, exclusive

#: The newest release of dask-kubernetes.
DASK_KUBERNETES = "dask-kubernetes==2026.3.0"


def environment(requirement: str, *others: str) -> Path:
    """Return the ``bin`` folder of an environment with these packages, named like the first."""
    name = requirement.replace("==", "-")
    folder = cache_folder() / name
    with exclusive(name):
        if not (folder / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            install = [str(folder / "bin" / "pip"), "install", "--quiet", requirement, *others]
            subprocess.run(install, check=True)
            (folder / "complete").touch()
    return folder / "bin"
