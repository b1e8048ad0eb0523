"""What an import of daskjob and of KubeCluster loads; benchmarks/importing.py has its time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, sys

def packages():
    return {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names

none = packages()
import daskjob
first = packages() - none
import distributed, aiohttp, msgspec
known = packages()
daskjob.KubeCluster
loaded = "daskjob.kubecluster.cluster" in sys.modules
print(json.dumps([sorted(first), sorted(packages() - known), loaded]))
"""


@pytest.mark.check(48)
def test_an_import_loads_what_it_needs_and_writes_nothing(tmp_path: Path) -> None:
    variables = {
        "HOME": str(tmp_path),
        "DASK_CONFIG": str(tmp_path / "dask"),
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=variables, capture_output=True, text=True, check=True
    )
    package, by_class, loaded = json.loads(done.stdout)
    assert package == ["daskjob"]
    # Beyond Dask and the connection: no kubernetes, kr8s, rich, ipywidgets or bokeh.
    assert (by_class, loaded) == ([], True)
    assert not list(tmp_path.iterdir())
