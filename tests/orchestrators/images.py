"""The image of Dask for pods: built by the development environment, whose versions it has."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cluster.images import Image
from tests.cluster.plugin import ROOT, Kubernetes

_BUILD = """
from tests.cluster.images import image
found = image("dask")
print(found.reference, found.archive)
"""


def dask_image(kubernetes: Kubernetes) -> str:
    """Load the image into the nodes; return its reference."""
    bin_folder = _output(str(ROOT / "scripts" / "venv"))
    reference, archive = _output(f"{bin_folder}/bin/python", "-c", _BUILD).split()
    return kubernetes.provider.load(Image(reference, Path(archive)))


def _output(*command: str) -> str:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
