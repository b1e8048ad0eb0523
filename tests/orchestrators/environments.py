"""The Python environment of each orchestrator, created once, in the cache.

Airflow and Prefect cannot be installed together, and neither belongs in the development
environment. An environment has the orchestrator, the packages of tests, and this checkout,
installed editable: a change of the code needs no new environment, a change of ``pyproject.toml``
makes one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.cluster.cache import cache_folder, exclusive, input_hash, say

ROOT = Path(__file__).parents[2]

#: What is installed, and found by the package index together with the newest Dask.
PINS = {
    "airflow": (
        "apache-airflow==3.3.2",
        "apache-airflow-providers-cncf-kubernetes==10.25.0",
        # It does nothing until a test names where its events go.
        "apache-airflow-providers-openlineage==2.20.3",
        "dask==2026.8.0",
        "distributed==2026.8.0",
    ),
    "prefect": (
        "prefect==3.9.1",
        "prefect-dask==0.3.7",
        "prefect-kubernetes==0.8.0",
        # What redis needs before Python 3.11.3: pods of tests may have that.
        "async-timeout==5.0.1",
        "dask==2026.8.0",
        "distributed==2026.8.0",
    ),
    "dagster": (
        "dagster==1.13.27",
        "dagster-k8s==0.29.27",
        "dask==2026.8.0",
        "distributed==2026.8.0",
    ),
    # Examples, without code of ours.
    "pipelines": ("kfp==2.17.3", "luigi==3.8.1"),
}
#: It installs each of them within seconds, and shares their files.
UV = "uv==0.13.9"


@cache
def environment(orchestrator: str) -> Path:
    """Return the ``bin`` folder of the environment of an orchestrator."""
    project = (ROOT / "pyproject.toml").read_text()
    name = f"{orchestrator}-{input_hash(str(ROOT))}"
    here = Path(__file__)
    key = input_hash(sys.version, sys.prefix, project, here, *PINS[orchestrator])
    folder, complete = cache_folder() / name, cache_folder() / name / "complete"
    with exclusive(name):
        if not (complete.exists() and complete.read_text() == key):
            say(f"Creating the environment of {orchestrator} in {folder} ...")
            _create(folder, f"--editable={ROOT}[examples,operator,test]", *PINS[orchestrator])
            complete.write_text(key)
    return folder / "bin"


@cache
def uv() -> Path | None:
    """Return the program uv, installed if it is missing; ``None`` where that is impossible."""
    if found := shutil.which("uv"):
        return Path(found)
    name = UV.replace("==", "-")
    folder = cache_folder() / name
    with exclusive(name):
        if not (folder / "complete").exists():
            try:
                _create_by_pip(folder, UV)
            except subprocess.CalledProcessError:
                say("uv cannot be installed here; pip takes its place, and some minutes")
                return None
            (folder / "complete").touch()
    return folder / "bin" / "uv"


def _create(folder: Path, *requirements: str) -> None:
    program = uv()
    if program is not None:
        try:
            _create_by_uv(program, folder, *requirements)
        except subprocess.CalledProcessError:
            # It does not read the settings of pip, such as another index.
            say("uv cannot install here; pip takes its place, and some minutes")
        else:
            return
    _create_by_pip(folder, *requirements)


def _create_by_uv(program: Path, folder: Path, *requirements: str) -> None:
    python = ("--python", sys.executable)
    _run(program, "venv", "--quiet", "--clear", *python, folder)
    into = ("--python", folder / "bin" / "python")
    _run(program, "pip", "install", "--quiet", *into, *requirements)


def _create_by_pip(folder: Path, *requirements: str) -> None:
    _run(sys.executable, "-m", "venv", "--clear", folder)
    _run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", *requirements)


def _run(*command: str | Path) -> None:
    # Standard output is for results.
    environ = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    subprocess.run(command, stdout=sys.stderr, env=environ, check=True)
