"""One project, unchanged, here and on a real cluster: its package, its pandas, its data."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.command import Daskjob
from tests.cli.test_on_cluster import SMALL, OnCluster, operator
from tests.cluster.plugin import Kubectl, Kubernetes
from tests.cluster.providers import Native
from tests.printed import assert_printed
from tests.submit.test_code_folder import write

#: Newer than that of the image, and another one than in this environment.
PANDAS = "3.0.1"
SCRIPT = f"""\
# /// script
# requires-python = ">=3.11"
# dependencies = ["pandas=={PANDAS}"]
#
# [tool.daskjob]
# files = ["data/table.csv"]
# ///
import pandas
from distributed import Client
from measures.stats import total, version

with Client() as client:
    client.wait_for_workers(2)
    print("runner", pandas.__version__, pandas.read_csv("data/table.csv").value.sum())
    print("scheduler", client.run_on_scheduler(version))
    print("workers", *client.run(version).values())
    print("tasks", client.gather(client.map(total, ["data/table.csv"] * 3, pure=False)))
"""
STATS = """\
import pandas
from .reading import values

def version():
    return pandas.__version__

def total(path):
    return int(values(path).sum())
"""
READING = "import pandas\n\ndef values(path):\n    return pandas.read_csv(path).value\n"
PRINTED = [
    f"runner {PANDAS} 42",
    f"scheduler {PANDAS}",
    f"workers {PANDAS} {PANDAS}",
    "tasks [42, 42, 42]",
]


@pytest.fixture
def there(daskjob: Daskjob, with_crds: Kubernetes, namespace: str) -> OnCluster:
    return OnCluster(daskjob, with_crds, namespace)


@pytest.fixture
def project(daskjob: Daskjob) -> Path:
    work = daskjob.work
    write(work / "pyproject.toml", '[project]\nname = "measures"\nversion = "1"\n')
    write(work / "src/measures/__init__.py", "")
    write(work / "src/measures/stats.py", STATS)
    write(work / "src/measures/reading.py", READING)
    write(work / "analysis.py", SCRIPT)
    write(work / "data/table.csv", "value\n40\n2\n")
    return work


@pytest.fixture
def wheels(there: OnCluster, project: Path, with_crds: Kubernetes, tmp_path: Path) -> str:
    """A volume claim with the wheels of the job's lock: pods reach no index."""
    if not isinstance(with_crds.provider, Native):
        pytest.skip("the nodes must have this machine's folders")
    rendered = there("render", "--image", with_crds.image("dask2025"), project / "analysis.py")
    assert rendered.code == 0, rendered.err
    *_, job = yaml.safe_load_all(rendered.text)
    folder = tmp_path / "wheels"
    folder.mkdir()
    lines = "\n".join(job["spec"]["environment"]["requirements"])
    write(tmp_path / "lines.txt", lines)
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run(
        [*download, "--only-binary", ":all:", "-d", str(folder), "-r", str(tmp_path / "lines.txt")],
        check=True,
    )
    for path in (tmp_path, folder):
        path.chmod(0o755)
    name = f"wheels-{there.namespace}"
    common = {
        "storageClassName": "",
        "accessModes": ["ReadOnlyMany"],
    }
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {**common, "capacity": {"storage": "1Gi"}, "hostPath": {"path": str(folder)}},
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "wheels"},
        "spec": {
            **common,
            "volumeName": name,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    items = {"apiVersion": "v1", "kind": "List", "items": [volume, claim]}
    Kubectl(with_crds, there.namespace)("create", "-f", "-", stdin=json.dumps(items))
    return "wheels"


@pytest.mark.usefixtures("project")
def test_project_gives_every_role_its_pandas_and_its_code_here(daskjob: Daskjob) -> None:
    done = daskjob("run", "-w", 2, "analysis.py", timeout=240)
    assert done.code == 0, done.err
    assert done.text.splitlines() == PRINTED


async def test_project_gives_every_role_its_pandas_and_its_code_there(
    there: OnCluster, project: Path, wheels: str, with_crds: Kubernetes, tmp_path: Path
) -> None:
    words = (*SMALL, "--workers", 2, "--image", with_crds.image("dask2025"))
    index = ("--find-links", "/wheels", "--mount", f"pvc:{wheels}:/wheels:ro")
    write(project / "analysis.ipynb", notebook(SCRIPT))
    # The same project, as somebody has put it on a volume.
    shutil.copytree(project, tmp_path / "wheels/project")
    ways = (
        ("analysis.py",),
        ("analysis.ipynb",),
        ("--code", f"pvc:{wheels}/project", "analysis.py"),
    )
    async with operator(with_crds, there.namespace, tmp_path):
        ended = await asyncio.gather(
            *(there.call("submit", "--wait", *words, *index, *way) for way in ways)
        )
    for done in ended:
        assert done.code == 0, done.err
        assert_printed(done.text, *PRINTED)


def notebook(script: str) -> str:
    """A notebook whose cells are the parts of a script."""
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "source": part,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        for part in script.split("\n\n")
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
