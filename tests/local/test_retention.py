"""What is kept of runs: long logs lose their middle, the oldest runs go."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from daskjob.backends.local import run, state
from daskjob.backends.local.retention import MOST_REMOVED, prune, shorten
from daskjob.backends.local.state import RunFolder, folders_of, new_folder
from daskjob.core.errors import Conflict
from daskjob.core.manifests import Manifest

ENDED: Manifest = {"kind": "DaskJob", "status": {"jobStatus": "Successful"}}


def made(root: Path, number: int, *, days_ago: float = 0, size: int = 0) -> RunFolder:
    """Create an ended run; higher numbers are newer."""
    folder = new_folder(root, f"run-{number}", f"{number:08}")
    folder.write_job(ENDED)
    folder.log("run-runner").write_bytes(b"x" * size)
    moment = time.time() - days_ago * 86400 - 1000 + number
    os.utime(folder.path / "job.json", (moment, moment))
    return folder


def kept(root: Path) -> list[str]:
    """Return the names of the runs that are there."""
    return sorted(path.parent.name.partition(".")[0] for path in root.glob("*/job.json"))


def test_a_long_log_keeps_its_beginning_and_its_end_with_a_note(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_bytes(b"begin\n" + b"x" * 1000 + b"\nend\n")
    with log.open("ab", buffering=0) as writer:
        shorten(log, limit=100, head=6, tail=5)
        writer.write(b"more\n")
    text = log.read_text()
    assert text.startswith("begin\n\n[daskjob: 1000 bytes of this log were left out here")
    assert text.endswith("]\n\nend\nmore\n")
    assert len(text) < 200


def test_a_log_within_the_limit_stays_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_bytes(b"x" * 100)
    shorten(log, limit=100, head=6, tail=5)
    assert log.read_bytes() == b"x" * 100


def test_the_newest_runs_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        made(tmp_path, number)
    prune(tmp_path, runs=3)
    assert kept(tmp_path) == ["run-2", "run-3", "run-4"]


def test_runs_of_more_than_30_days_ago_are_removed_but_for_the_newest(tmp_path: Path) -> None:
    made(tmp_path, 0, days_ago=31)
    made(tmp_path, 1, days_ago=29)
    prune(tmp_path)
    assert kept(tmp_path) == ["run-1"]
    os.utime(tmp_path / "run-1.00000001" / "job.json", (0, 0))
    prune(tmp_path)
    assert kept(tmp_path) == ["run-1"]


def test_runs_above_the_size_are_removed_but_for_the_newest(tmp_path: Path) -> None:
    for number in range(3):
        made(tmp_path, number, size=1000)
    prune(tmp_path, size=2500)
    assert kept(tmp_path) == ["run-1", "run-2"]
    prune(tmp_path, size=10)
    assert kept(tmp_path) == ["run-2"]


def test_running_jobs_and_other_files_stay(tmp_path: Path) -> None:
    live = made(tmp_path, 0)
    made(tmp_path, 1)
    made(tmp_path, 2)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "folder").mkdir()
    with live.held():
        prune(tmp_path, runs=1)
    assert kept(tmp_path) == ["run-0", "run-2"]
    assert (tmp_path / "notes.txt").exists()
    assert (tmp_path / "folder").exists()


def test_a_bounded_number_of_runs_is_removed_at_a_time_the_oldest_first(tmp_path: Path) -> None:
    for number in range(MOST_REMOVED + 3):
        made(tmp_path, number)
    prune(tmp_path, runs=1)
    assert kept(tmp_path) == [f"run-{MOST_REMOVED + number}" for number in range(3)]


def test_whether_a_name_is_free_is_known_without_reading_any_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = made(tmp_path, 1)
    for number in range(10, 15):
        made(tmp_path, number)

    def read(_: bytes) -> Manifest:
        raise AssertionError("a job was read")

    monkeypatch.setattr(state, "_object", read)
    assert folders_of(tmp_path, "run-1") == [mine]
    run._check_name_is_free(tmp_path, "run-1")
    with mine.held(), pytest.raises(Conflict):
        run._check_name_is_free(tmp_path, "run-1")
    run._check_name_is_free(tmp_path / "missing", "run-1")
