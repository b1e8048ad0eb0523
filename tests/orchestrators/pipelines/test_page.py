"""The files of docs/howto/orchestrators.md, with real Luigi and Kubeflow Pipelines."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from daskjob.core.spec import DaskJob, parse
from tests.docs.consoles import Block, blocks
from tests.orchestrators.environments import ROOT
from tests.submit.places import FAILED, RUNNING, SUCCEEDED
from tests.submit.test_local_submit import SUMS, job

PAGE = ROOT / "docs" / "howto" / "orchestrators.md"


def file(name: str) -> str:
    found: list[Block] = [block for block in blocks(PAGE) if block.file == name]
    return found[0].text


def argo_step() -> Any:
    template = yaml.safe_load(file("argo-workflow.yaml"))
    return template["spec"]["templates"][0]


def test_the_manifest_of_argo_is_valid() -> None:
    given = {"workflow.name": "nightly-x7k2p", "workflow.uid": "b1946ac9"}
    inputs = {"inputs.parameters.step": "sums", "inputs.parameters.date": "2026-01-31"}
    values = given | inputs
    text = re.sub(
        r"{{([\w.]+)}}", lambda found: values[found[1]], argo_step()["resource"]["manifest"]
    )
    made = parse(DaskJob, yaml.safe_load(text))
    assert made.meta.name == "nightly-x7k2p-sums"
    assert made.runner.containers[0]["args"][-1] == "2026-01-31"


def holds(condition: str, status: Any) -> bool:
    """Return whether a condition is true, as Argo evaluates it: ``path == value``."""
    path, value = condition.split(" == ")
    found: Any = {"status": status}
    for key in path.split("."):
        found = (found or {}).get(key)
    return bool(found == value)


@pytest.mark.parametrize(
    ("status", "success", "failure"),
    [
        (SUCCEEDED, True, False),
        (FAILED, False, True),
        (RUNNING, False, False),
        (None, False, False),
    ],
)
def test_argo_sees_each_end(status: Any, success: bool, failure: bool) -> None:
    resource = argo_step()["resource"]
    assert holds(resource["successCondition"], status) is success
    assert holds(resource["failureCondition"], status) is failure
    assert resource["setOwnerReference"] is True


def test_the_pipeline_of_kubeflow_compiles(tmp_path: Path) -> None:
    Path(tmp_path, "pipeline.py").write_text(file("kubeflow_pipeline.py"))
    subprocess.run([sys.executable, "pipeline.py"], cwd=tmp_path, check=True)
    compiled = yaml.safe_load(Path(tmp_path, "nightly.yaml").read_text())
    container = compiled["deploymentSpec"]["executors"]["exec-daskjob"]["container"]
    # What the shell makes of it, with a program in the place of the step's.
    values = ("team", "run-17", "/bin/echo", "4", "/app/sums.py", "2026-01-31")
    shown = subprocess.run([*container["command"], *values], capture_output=True, text=True)
    assert shown.stdout == "--workers 4 --retries 2 /app/sums.py 2026-01-31\n"
    assert len(container["args"]) == len(values)
    assert container["args"][2] == "/usr/local/bin/pipeline.sh"


def luigi(folder: Path, manifest: Any) -> int:
    Path(folder, "luigi_task.py").write_text(file("luigi_task.py"))
    Path(folder, "job.json").write_text(json.dumps(manifest))
    environment = {**os.environ, "DASKJOB_STATE_DIR": str(folder / "state"), "PYTHONPATH": "."}
    command = [sys.executable, "-m", "luigi", "--module", "luigi_task", "DaskJob", "--here"]
    options = ["--local-scheduler", "--manifest", "job.json", "--retcode-task-failed", "3"]
    return subprocess.run([*command, *options], cwd=folder, env=environment, check=False).returncode


def test_the_task_of_luigi_has_the_result_and_runs_again_after_a_failure(tmp_path: Path) -> None:
    assert luigi(tmp_path, job("raise SystemExit(4)")) == 3
    assert list(tmp_path.glob("DaskJob*.json")) == []
    assert luigi(tmp_path, job(SUMS)) == 0
    (result,) = tmp_path.glob("DaskJob*.json")
    assert json.loads(result.read_text()) == {"total": 3}
    runs = [path.name.partition(".")[0] for path in (tmp_path / "state").glob("sums-*")]
    assert sorted(name[-3:] for name in runs) == ["-g1", "-g2"]
