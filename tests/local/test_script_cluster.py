"""What a script asks of its cluster, as a patch of the DaskCluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from daskjob.backends.local.script_cluster import IN_SCRIPT, ScriptCluster
from daskjob.core.spec import DaskJob, parse
from daskjob.submit.local import local_script_job
from daskjob.submit.script import ScriptOptions
from tests.cli.command import job

ALL = ("workers", "threads", "memory")


MEMORY = 12 * 2**30


def script_cluster(
    folder: Path, opened: tuple[str, ...] | None = ALL, memory: str | None = None
) -> ScriptCluster:
    options = ScriptOptions(workers=2, threads=1, memory=memory, name="one", open_to_script=opened)
    manifest = local_script_job(["python", "a.py"], options, "a")
    manifest["metadata"]["uid"] = "u"
    return ScriptCluster(
        parse(DaskJob, manifest), manifest, folder, cwd=folder, memory_bytes=MEMORY
    )


def asked(cluster: ScriptCluster, folder: Path, request: Any, attempt: str = "0") -> Any:
    """The patch that follows from a request in the file of an attempt; ``None``: none."""
    (folder / f"cluster-{attempt}.json").write_text(json.dumps(request))
    found = cluster.new_request(dask_cluster(attempt))
    return found and cluster.worker_patch(found)


def dask_cluster(attempt: str) -> dict[str, Any]:
    return {"metadata": {"annotations": {"kubernetes.dask.org/attempt": attempt}}}


def args(patch: Any) -> list[str]:
    found = patch["spec"]["containers"][0]["args"]
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ({}, ["--nthreads", "1", "--memory-limit", "1GB"]),
        ({"threads": 1, "memory": 10**9}, ["--nthreads", "1", "--memory-limit", "1GB"]),
        ({"threads": 4}, ["--memory-limit", "1GB", "--nthreads", "4"]),
        ({"memory": 0}, ["--nthreads", "1", "--memory-limit", "0"]),
        (
            {"resources": {"GPU": 2, "x": 0.5}, "directory": "/scratch"},
            [
                *("--nthreads", "1", "--memory-limit", "1GB"),
                *("--resources", "GPU=2 x=0.5", "--local-directory", "/scratch/run"),
            ],
        ),
    ],
)
def test_command_line_changes_only_where_the_script_asks_for_something_else(
    tmp_path: Path, request_: dict[str, Any], expected: list[str]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    patch = asked(script_cluster(folder, memory="1GB"), folder, request_)
    assert args(patch) == ["dask", "worker", *expected]


@pytest.mark.parametrize(
    ("request_", "limit"),
    [
        ({"workers": 4, "share": 4}, 3 * 2**30),
        ({"workers": 1, "share": 4}, 3 * 2**30),
        ({"workers": 1, "share": 1}, 12 * 2**30),
        ({"workers": 4, "share": 4, "memory": 10**9}, 10**9),
        ({"workers": 4}, None),
        ({"workers": 4, "share": None}, None),
    ],
)
def test_workers_of_a_script_share_the_memory_as_they_were_asked_for(
    tmp_path: Path, request_: dict[str, Any], limit: int | None
) -> None:
    found = args(asked(script_cluster(tmp_path), tmp_path, request_))
    options = [] if limit is None else ["--memory-limit", str(limit)]
    assert found == ["dask", "worker", "--nthreads", "1", *options]


def test_count_is_the_one_asked_for_or_that_of_the_run(tmp_path: Path) -> None:
    cluster = script_cluster(tmp_path)
    assert asked(cluster, tmp_path, {"workers": 5})["replicas"] == 5
    assert asked(cluster, tmp_path, {"workers": 0})["replicas"] == 0
    assert asked(cluster, tmp_path, {})["replicas"] == 2


def test_adapting_leaves_the_count_to_the_autoscaler_until_it_ends(tmp_path: Path) -> None:
    cluster = script_cluster(tmp_path)
    patch = asked(cluster, tmp_path, {"adapt": [1, 4]})
    assert "replicas" not in patch
    assert (patch["autoscaling"]["minimum"], patch["autoscaling"]["maximum"]) == (1, 4)
    patch = asked(cluster, tmp_path, {"workers": 3})
    assert (patch["replicas"], patch["autoscaling"]) == (3, None)


def test_request_is_applied_once_and_belongs_to_its_attempt(tmp_path: Path) -> None:
    cluster = script_cluster(tmp_path)
    assert asked(cluster, tmp_path, {"workers": 5}) is not None
    assert not list(tmp_path.iterdir())
    assert cluster.new_request(dask_cluster("0")) is None
    assert cluster.new_request(dask_cluster("1")) is None
    assert asked(cluster, tmp_path, {"workers": 5}, attempt="1") is not None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"adapt": [1]}', '{"env": 3}', "\x00"])
def test_file_that_holds_no_request_is_ignored(tmp_path: Path, text: str) -> None:
    cluster = script_cluster(tmp_path)
    (tmp_path / "cluster-0.json").write_text(text)
    assert cluster.new_request(dask_cluster("0")) is None


@pytest.mark.parametrize(
    ("opened", "expected"),
    [(ALL, list(ALL)), (("memory",), ["memory"]), ((), [])],
)
def test_script_learns_what_it_may_set(
    tmp_path: Path, opened: tuple[str, ...], expected: list[str]
) -> None:
    cluster = script_cluster(tmp_path, opened)
    found = cluster.environment({"PYTHONPATH": "/lib"}, comm="h:1", dashboard="h:2")
    settings = json.loads(found["DASKJOB_CLUSTER"])
    assert settings["open"] == expected
    assert settings["own"] == {"workers": 2, "threads": 1, "memory": None}
    assert not settings["manifest"]
    assert found["PYTHONPATH"] == f"{IN_SCRIPT}:/lib"


def test_manifest_sets_everything_and_its_workers_stay(tmp_path: Path) -> None:
    manifest = job("pass", workers=3)
    cluster = ScriptCluster(parse(DaskJob, manifest), manifest, tmp_path, cwd=tmp_path)
    settings = json.loads(cluster.environment({}, comm="h:1", dashboard="h:2")["DASKJOB_CLUSTER"])
    assert settings["manifest"]
    assert settings["open"] == []
    assert asked(cluster, tmp_path, {"threads": 7}) == {"autoscaling": None, "replicas": 3}
