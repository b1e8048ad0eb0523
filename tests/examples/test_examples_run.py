"""Every example runs with ``daskjob run`` on this machine, with success and a correct result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.command import Daskjob, Done

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def daskjob(tmp_path: Path) -> Iterator[Daskjob]:
    user = Daskjob(tmp_path)
    yield user
    left = user.left_over()
    user.end()
    assert not left, f"left behind: {left}"


def result(daskjob: Daskjob, done: Done) -> dict[str, Any]:
    """The result of a successful run."""
    assert done.code == 0, done.err + done.text
    found: dict[str, Any] = json.loads((daskjob.work / "result.json").read_text())
    assert daskjob.status()["result"] == found
    return found


def smaller(path: Path, *, limit: list[str]) -> dict[str, Any]:
    """A manifest with one worker and additional arguments for its script."""
    (job,) = yaml.safe_load_all(path.read_text())
    job["spec"]["cluster"]["spec"]["worker"]["replicas"] = 1
    job["spec"]["job"]["spec"]["containers"][0]["args"] += limit
    assert isinstance(job, dict)
    return job


OPTIONS = ("run", "--workers", 1, "--result-file", "result.json")


def test_census_as_a_script_counts_the_40_files_it_is_limited_to(daskjob: Daskjob) -> None:
    script = EXAMPLES / "stdlib_census" / "census.py"
    found = result(daskjob, daskjob(*OPTIONS, script, "--limit", 40))
    assert found["files"] == 40
    assert found["functions"] > 40
    assert found["topNames"]


def test_census_as_a_manifest_counts_the_20_files_it_is_limited_to(daskjob: Daskjob) -> None:
    job = smaller(EXAMPLES / "stdlib_census" / "job.yaml", limit=["--limit", "20"])
    found = result(daskjob, daskjob(*OPTIONS, daskjob.manifest(job)))
    assert found["files"] == 20


def test_airports_as_a_script_and_as_a_manifest_agree(daskjob: Daskjob) -> None:
    pytest.importorskip("airportsdata")
    folder = EXAMPLES / "dataframe"
    script = result(daskjob, daskjob(*OPTIONS, folder / "airports.py"))
    manifest = daskjob.manifest(smaller(folder / "job.yaml", limit=[]))
    done = daskjob(*OPTIONS, manifest)
    assert done.code == 0, done.err
    assert json.loads((daskjob.work / "result.json").read_text()) == script


def test_checkpoint_as_a_script_needs_its_retry_and_keeps_what_was_done(
    daskjob: Daskjob,
) -> None:
    script = EXAMPLES / "checkpoint" / "compress.py"
    words = ["--checkpoint", "saved", "--fail-on-attempt", "0", "--chunks", "4", "--limit", "40"]
    done = daskjob(*OPTIONS, "--retries", 1, script, *words)
    assert result(daskjob, done)
    attempts = daskjob.status()["attempts"]
    assert [(a["number"], a["exitCode"]) for a in attempts] == [(0, 137), (1, 0)]
    assert "taken from the checkpoint" in done.text


def test_checkpoint_as_a_manifest_needs_its_retry(daskjob: Daskjob) -> None:
    job = smaller(EXAMPLES / "checkpoint" / "job.yaml", limit=["--chunks", "2", "--limit", "10"])
    job["spec"]["backoff"] = {"initialSeconds": 1}
    container = job["spec"]["job"]["spec"]["containers"][0]
    container["args"][3] = str(daskjob.work / "saved")
    assert container["args"][2] == "--checkpoint"
    done = daskjob(*OPTIONS, daskjob.manifest(job))
    assert result(daskjob, done)
    assert [a["exitCode"] for a in daskjob.status()["attempts"]] == [137, 0]
    assert not (daskjob.work / "saved").exists()


def test_minimal_manifest_prints_its_sum(daskjob: Daskjob) -> None:
    done = daskjob("run", "-w", 1, EXAMPLES / "daskjob_minimal.yaml")
    assert (done.code, done.text) == (0, "332833500\n"), done.err
