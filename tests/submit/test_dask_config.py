"""Dask's configuration is read only if it has settings of jobs, and then by Dask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documents import ROOT

PRINTS = """\
import os, sys
from daskjob.submit.settings.dask_config import dask_config
print(dask_config(os.environ).get("daskjob"), "dask" in sys.modules)
"""


def printed(home: Path, **variables: str) -> str:
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("DASK")
    } | {"HOME": str(home), "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, "-c", PRINTS], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("place", ["home", "root", "folder", "file"])
def test_every_place_of_dasks_configuration_is_read(tmp_path: Path, place: str) -> None:
    folders = {"home": tmp_path / ".config/dask"}
    folder = folders.get(place, tmp_path / place)
    folder.mkdir(parents=True)
    (folder / "any.yaml").write_text("daskjob:\n  memory: 4Gi\n")
    variables = {
        "home": {},
        "root": {"DASK_ROOT_CONFIG": str(folder)},
        "folder": {"DASK_CONFIG": str(folder)},
        "file": {"DASK_CONFIG": str(folder / "any.yaml")},
    }[place]
    assert printed(tmp_path, **variables) == "{'memory': '4Gi'} True"


def test_variable_sets_a_setting(tmp_path: Path) -> None:
    assert printed(tmp_path, DASK_DASKJOB__CPU="2") == "{'cpu': 2} True"


def test_dask_is_not_imported_without_settings(tmp_path: Path) -> None:
    folder = tmp_path / ".config/dask"
    folder.mkdir(parents=True)
    (folder / "distributed.yaml").write_text("distributed:\n  comm: {}\n")
    assert printed(tmp_path, DASK_LOGGING__DISTRIBUTED="info") == "None False"
