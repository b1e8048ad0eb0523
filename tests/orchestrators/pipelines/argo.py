"""The CRDs of Argo Workflows with their schemas: from its Go module, kept in the cache."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from tests.cluster.binaries import go_program
from tests.cluster.cache import cache_folder, exclusive

MODULE = "github.com/argoproj/argo-workflows/v3"
VERSION = "v3.7.2"
_FOLDER = Path("manifests", "base", "crds", "full")


def crd(kind: str) -> Path:
    """Return the file of the CRD of a kind, such as ``workflowtemplates``."""
    name = f"argo-workflows-{VERSION}"
    folder = cache_folder() / name
    file = f"argoproj.io_{kind}.yaml"
    with exclusive(name):
        if not (folder / file).exists():
            text = (_source() / _FOLDER / file).read_text()
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{file}.draft").write_text(text)
            (folder / f"{file}.draft").rename(folder / file)
    return folder / file


def _source() -> Path:
    command = [go_program(), "mod", "download", "-json", f"{MODULE}@{VERSION}"]
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": ""}
    # Outside of a module: its own dependencies are not needed.
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(json.loads(done.stdout)["Dir"])
