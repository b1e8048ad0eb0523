"""Pods as folders and processes of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import daskjob
from tests.cluster.environments import environment
from tests.cluster.images import UV
from tests.in_pod.wheels import wheel

SCRIPT = Path(daskjob.__file__).with_name("in_pod.py")
#: Runs a program; of uv there is no module, as in images, whatever this environment has.
WITHOUT_UV = """
import runpy, sys
sys.modules["uv"] = None
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True)
class Prepared:
    """How the preparation of a pod ended."""

    code: int
    message: str
    log: str


@dataclass(frozen=True)
class Pod:
    """The folders of a pod, and the programs that its image has."""

    folder: Path
    path: str

    @property
    def packages(self) -> Path:
        """The folder of the packages."""
        return self.folder / "packages"

    @property
    def installed(self) -> dict[str, str]:
        """The packages that were installed, with their versions."""
        found = (entry.name.removesuffix(".dist-info") for entry in self.packages.glob("*.dist-*"))
        return {
            name.replace("_", "-"): version
            for name, _, version in (f.partition("-") for f in found)
        }

    def prepare(self, **settings: Any) -> Prepared:
        """Run the init container's program."""
        message = self.folder / "termination-log"
        file = self.folder / "settings.json"
        common = {"packages": str(self.packages), "message": str(message)}
        file.write_text(json.dumps({**common, **settings}))
        environment = {"PATH": self.path, "HOME": str(self.folder / "home")}
        for name in ("SSL_CERT_FILE", "LD_LIBRARY_PATH"):
            if name in os.environ:
                environment[name] = os.environ[name]
        # Alone in a folder, as in a pod: beside it, daskjob.operator would hide Python's module.
        program = shutil.copy(SCRIPT, self.folder.parent / "in_pod.py")
        done = subprocess.run(
            [sys.executable, "-u", "-c", WITHOUT_UV, str(program), str(file)],
            env={**environment, "NO_PROXY": "127.0.0.1", "PIP_CONFIG_FILE": os.devnull},
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
        )
        told = message.read_text() if message.exists() else ""
        return Prepared(done.returncode, told, done.stdout + done.stderr)


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    """A pod whose image has pip, and no uv."""
    return _pod(tmp_path, "/usr/bin:/bin")


@pytest.fixture(params=["pip", "uv"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Pod:
    """A pod whose image has pip, and one that has uv too."""
    more = f"{environment(UV)}:" if request.param == "uv" else ""
    return _pod(tmp_path, f"{more}/usr/bin:/bin")


def _pod(tmp_path: Path, path: str) -> Pod:
    folder = tmp_path / "pod"
    folder.mkdir()
    return Pod(folder, path)


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with wheels: ``shapes`` needs ``colours``, in two versions."""
    folder = tmp_path / "wheels"
    wheel(folder, "shapes", "1.0", ["colours>=1"])
    wheel(folder, "colours", "1.0")
    wheel(folder, "colours", "2.0")
    wheel(folder, "old-dask-tool", "1.0", ["dask<2000"])
    return folder
