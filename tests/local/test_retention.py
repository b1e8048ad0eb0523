"""What is kept of runs: long logs lose their middle, the oldest runs go."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from daskjob.backends.local import known_runs, retention, run
from daskjob.backends.local.known_runs import folders_of
from daskjob.backends.local.retention import (
    MOST_REMOVED,
    InvalidLimit,
    Limits,
    limits_from,
    prune,
    shorten,
)
from daskjob.backends.local.run_folder import RunFolder, new_folder
from daskjob.core.errors import Conflict
from daskjob.core.manifests import Manifest

ENDED: Manifest = {"kind": "DaskJob", "status": {"jobStatus": "Successful"}}


def made(root: Path, number: int, *, days_ago: float = 0, size: int = 0) -> RunFolder:
    """Create an ended run; higher numbers are newer."""
    folder = new_folder(root, f"run-{number}", f"{number:08}")
    folder.write_job(ENDED)
    folder.release_reserve()
    folder.log("run-runner").write_bytes(b"x" * size)
    moment = time.time() - days_ago * 86400 - 1000 + number
    os.utime(folder.path / "job.json", (moment, moment))
    return folder


def kept(root: Path) -> list[str]:
    """Return the names of the runs that are there."""
    return sorted(path.parent.name.partition(".")[0] for path in root.glob("*/job.json"))


def test_a_long_log_keeps_its_beginning_and_its_end_with_a_note(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_bytes(b"begin\n" + b"x" * 1000 + b"\nthe end\n")
    with log.open("ab", buffering=0) as writer:
        shorten(log, 48)
        writer.write(b"more\n")
    text = log.read_text()
    assert text.startswith("begin\n\n[daskjob: 997 bytes of this log were left out here")
    assert text.endswith("]\nxxx\nthe end\nmore\n")
    assert len(text) < 200


@pytest.mark.parametrize("size", [0, 99, 100])
def test_a_log_within_the_limit_stays_as_it_is(tmp_path: Path, size: int) -> None:
    log = tmp_path / "worker.log"
    log.write_bytes(b"x" * size)
    shorten(log, 100)
    assert log.read_bytes() == b"x" * size


def test_the_newest_runs_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        made(tmp_path, number)
    prune(tmp_path, Limits(runs=3))
    assert kept(tmp_path) == ["run-2", "run-3", "run-4"]
    prune(tmp_path, Limits(runs=0))
    assert kept(tmp_path) == ["run-4"]


def test_runs_of_more_than_30_days_ago_are_removed_but_for_the_newest(tmp_path: Path) -> None:
    made(tmp_path, 0, days_ago=31)
    made(tmp_path, 1, days_ago=29)
    prune(tmp_path, Limits())
    assert kept(tmp_path) == ["run-1"]
    os.utime(tmp_path / "run-1.00000001" / "job.json", (0, 0))
    prune(tmp_path, Limits())
    assert kept(tmp_path) == ["run-1"]


def test_runs_above_the_size_are_removed_but_for_the_newest(tmp_path: Path) -> None:
    for number in range(3):
        made(tmp_path, number, size=1000)
    prune(tmp_path, Limits(size=2500))
    assert kept(tmp_path) == ["run-1", "run-2"]
    prune(tmp_path, Limits(size=10))
    assert kept(tmp_path) == ["run-2"]


def test_running_jobs_and_other_files_stay(tmp_path: Path) -> None:
    live = made(tmp_path, 0)
    made(tmp_path, 1)
    made(tmp_path, 2)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "folder").mkdir()
    with live.held():
        prune(tmp_path, Limits(runs=1))
    assert kept(tmp_path) == ["run-0", "run-2"]
    assert (tmp_path / "notes.txt").exists()
    assert (tmp_path / "folder").exists()


def test_folders_of_other_users_and_links_stay(tmp_path: Path) -> None:
    for number in range(4):
        made(tmp_path, number)
    theirs = tmp_path / "run-0.00000000"
    theirs.chmod(0o777)
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    (tmp_path / "run-1.00000001").rename(elsewhere)
    (tmp_path / "run-1.00000001").symlink_to(elsewhere)
    prune(tmp_path, Limits(runs=1))
    assert kept(tmp_path) == ["run-0", "run-1", "run-3"]
    assert (elsewhere / "job.json").exists()


def test_run_that_has_just_ended_stays_since_its_process_still_prints(tmp_path: Path) -> None:
    just = made(tmp_path, 1)
    made(tmp_path, 0)
    os.utime(just.path / "job.json")
    newest = made(tmp_path, 2)
    os.utime(newest.path / "job.json", (time.time() + 1,) * 2)
    prune(tmp_path, Limits(runs=1))
    assert kept(tmp_path) == ["run-1", "run-2"]


def test_folder_of_a_run_that_could_not_write_its_job_is_removed_after_a_day(
    tmp_path: Path,
) -> None:
    for number, hours in enumerate((0, 23, 25)):
        folder = new_folder(tmp_path, f"run-{number}", f"{number:08}")
        moment = time.time() - hours * 3600
        os.utime(folder.path, (moment, moment))
    prune(tmp_path, Limits())
    assert sorted(path.name[:5] for path in tmp_path.glob("run-*")) == ["run-0", "run-1"]


def test_a_bounded_number_of_runs_is_removed_at_a_time_the_oldest_first(tmp_path: Path) -> None:
    for number in range(MOST_REMOVED + 3):
        made(tmp_path, number)
    prune(tmp_path, Limits(runs=1))
    assert kept(tmp_path) == [f"run-{MOST_REMOVED + number}" for number in range(3)]


def test_removal_is_bounded_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        made(tmp_path, number)
    monkeypatch.setattr(retention, "PRUNE_SECONDS", 0.0)
    prune(tmp_path, Limits(runs=1))
    assert kept(tmp_path) == ["run-1", "run-2", "run-3"]


def test_only_one_process_removes_runs_at_a_time_and_none_waits(tmp_path: Path) -> None:
    for number in range(3):
        made(tmp_path, number)
    with retention._only_pruner(tmp_path) as alone:
        assert alone
        prune(tmp_path, Limits(runs=1))
        assert len(kept(tmp_path)) == 3
    prune(tmp_path, Limits(runs=1))
    assert kept(tmp_path) == ["run-2"]


def test_limits_are_the_environments(tmp_path: Path) -> None:
    del tmp_path
    assert limits_from({}) == Limits(200, 30 * 86400.0, 2**30, 64 * 2**20)
    given = {
        "DASKJOB_KEEP_RUNS": "7",
        "DASKJOB_KEEP_DAYS": "0.5",
        "DASKJOB_KEEP_SIZE": "10MB",
        "DASKJOB_LOG_SIZE": "1Ki",
    }
    assert limits_from(given) == Limits(7, 43200.0, 10_000_000, 1024)
    assert limits_from({"DASKJOB_KEEP_RUNS": "", "DASKJOB_KEEP_SIZE": ""}) == Limits()


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("DASKJOB_KEEP_RUNS", "many", "200"),
        ("DASKJOB_KEEP_RUNS", "1.5", "200"),
        ("DASKJOB_KEEP_DAYS", "-1", "30"),
        ("DASKJOB_KEEP_DAYS", "nan", "30"),
        ("DASKJOB_KEEP_SIZE", "big", "1GiB"),
        ("DASKJOB_LOG_SIZE", "1 parsec", "64MiB"),
    ],
)
def test_wrong_limit_is_rejected_with_a_right_one(name: str, value: str, right: str) -> None:
    with pytest.raises(InvalidLimit, match=f"{name}={value}: write a .*, such as {right}"):
        limits_from({name: value})


def test_whether_a_name_is_free_is_known_without_reading_any_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = made(tmp_path, 1)
    for number in range(10, 15):
        made(tmp_path, number)

    def read(_: bytes) -> Manifest:
        raise AssertionError("a job was read")

    monkeypatch.setattr(known_runs, "json_object", read)
    assert folders_of(tmp_path, "run-1") == [mine]
    run._check_name_is_free(tmp_path, "run-1")
    with mine.held(), pytest.raises(Conflict):
        run._check_name_is_free(tmp_path, "run-1")
    run._check_name_is_free(tmp_path / "missing", "run-1")
