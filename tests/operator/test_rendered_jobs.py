"""A script as ``daskjob render`` makes a job of it, on a cluster that enforces "restricted"."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from daskjob.submit.cli.manifests import render_command
from tests.cluster.plugin import Kubectl, Kubernetes, WaitFor
from tests.operator.jobs import ended

pytestmark = pytest.mark.usefixtures("operator")

MAIN = """\
# /// script
# dependencies = ["dask", "distributed"]
# [tool.daskjob]
# cpu = "100m"
# runner-cpu = "100m"
# scheduler-cpu = "100m"
# memory = "512Mi"
# adapt = "1:2"
# ///
import getpass, json, os, sys
from pathlib import Path
from distributed import Client
from lib.tasks import limit, square

with Client() as client:
    client.wait_for_workers(1)
    squares = client.gather(client.map(square, range(3)))
    memory = client.submit(limit).result()
Path("~/note").expanduser().write_text("written")
found = {
    "squares": squares,
    "memory": memory,
    "user": [os.getuid(), getpass.getuser()],
    "arguments": sys.argv[1:],
    "file": Path("data.txt").read_text(),
    "variable": os.environ["KEY"],
}
Path(os.environ["DASKJOB_RESULT_FILE"]).write_text(json.dumps(found))
"""
TASKS = """\
from .numbers import power

def square(n):
    return power(n, 2)

def limit():
    from distributed import get_worker
    return get_worker().memory_manager.memory_limit
"""


def test_script_with_modules_files_and_a_secret_runs_on_its_workers(
    kubernetes: Kubernetes,
    kubectl: Kubectl,
    wait_for: WaitFor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    kubectl("label", "namespace", kubectl.namespace, label)
    kubectl("create", "secret", "generic", "db", "--from-literal=password=hunter2")
    (tmp_path / "lib").mkdir()
    files = {
        "main.py": MAIN,
        "data.txt": "words",
        "lib/__init__.py": "",
        "lib/tasks.py": TASKS,
        "lib/numbers.py": "def power(n, e):\n    return n**e\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    flags = ["--image", kubernetes.image("dask"), "--secret", "db:password=KEY"]
    words = [*flags, "--file", "data.txt", "main.py", "--limit", "$(HOME)"]
    done = CliRunner().invoke(render_command, words)
    assert done.exit_code == 0, done.output

    kubectl("apply", "-f", "-", stdin=done.stdout)
    name = yaml.safe_load(done.stdout)["metadata"]["name"]
    status = wait_for("daskjob", name, ended, seconds=240)["status"]
    assert status["jobStatus"] == "Successful", json.dumps(status)
    assert status["result"] == {
        "squares": [0, 1, 4],
        "memory": (512 - 128) * 2**20,
        "user": [1000, "dask"],
        "arguments": ["--limit", "$(HOME)"],
        "file": "words",
        "variable": "hunter2",
    }
