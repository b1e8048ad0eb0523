"""``daskjob why -f``: of one saved job, and of several."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.cli.command import Daskjob
from tests.cli.in_process import call


def saved(name: str, namespace: str = "team", **status: object) -> dict[str, object]:
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {},
        "status": status,
    }


ENDED: dict[str, Any] = {
    "phase": "Succeeded",
    "jobStatus": "Successful",
    "reason": "Completed",
    "exitCode": 0,
}
JOBS = [saved("one", **ENDED), saved("two"), saved("one", "other"), saved("one")]
CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
LIST = {"apiVersion": "v1", "kind": "List", "items": JOBS}


@pytest.mark.parametrize(
    "text", [yaml.safe_dump_all([CONFIG, *JOBS]), json.dumps(LIST), yaml.safe_dump(LIST)]
)
def test_each_job_of_a_file_has_its_answer(daskjob: Daskjob, text: str) -> None:
    path = daskjob.work / "jobs.yaml"
    path.write_text(text)
    done = call(("why", "-f", path), daskjob.environment)
    assert done.code == 0, done.err
    blocks = [block.splitlines() for block in done.text.split("\n\n")]
    assert [block[0] for block in blocks] == [
        "team/one:",
        "team/two:",
        "other/one:",
        "team/one (4):",
    ]
    assert "has no status" in blocks[1][1]
    found = call(("why", "-f", path, "-o", "json"), daskjob.environment).object()["items"]
    assert [item["job"] for item in found] == ["team/one", "team/two", "other/one", "team/one (4)"]


def test_single_job_has_no_title(daskjob: Daskjob) -> None:
    path = daskjob.work / "jobs.yaml"
    path.write_text(yaml.safe_dump(saved("one")))
    assert call(("why", path), daskjob.environment).text.startswith("one has no status")
    found = call(("why", "-f", path, "-o", "json"), daskjob.environment).object()
    assert "job" not in found


@pytest.mark.parametrize("text", ["", yaml.safe_dump(CONFIG), "kind: 3\n"])
def test_file_without_a_job_is_an_error(daskjob: Daskjob, text: str) -> None:
    path = daskjob.work / "jobs.yaml"
    path.write_text(text)
    done = call(("why", "-f", path), daskjob.environment)
    assert done.code == 125
    assert "jobs.yaml" in done.err
    assert "Traceback" not in done.err
