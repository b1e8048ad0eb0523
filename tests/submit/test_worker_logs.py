"""The logs of all workers as one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from daskjob.backends.local.arrivals import Arrivals
from daskjob.backends.local.run_folder import RunFolder
from daskjob.submit.worker_logs import NewLines, attempt_of_worker, merged, own_time
from daskjob.submit.worker_names import short_name


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "sums.1234")
    made.logs.mkdir(parents=True)
    return made


def write(folder: RunFolder, worker: str, text: str) -> None:
    with (folder.logs / f"sums-default-worker-{worker}.log").open("a") as log:
        log.write(text)


def stamp(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S},000"


def test_records_are_merged_by_their_own_time(folder: RunFolder) -> None:
    write(folder, "a", f"{stamp(1000)} - x - INFO - one\n{stamp(1002)} - x - INFO - three\n")
    write(folder, "b", f"{stamp(1001)} - x - INFO - two\nits second line\n")
    lines = [line.rpartition(b" - ")[2] for _, line in NewLines(folder).so_far()]
    assert lines == [b"one", b"two", b"its second line", b"three"]


def test_prints_are_merged_by_the_time_of_their_arrival(folder: RunFolder) -> None:
    write(folder, "a", "one\nfour\n")
    write(folder, "b", "two\nthree\n")
    record = [(1, 4, "a"), (2, 4, "b"), (3, 10, "b"), (4, 9, "a")]
    text = "".join(f"{t} {size} sums-default-worker-{name}\n" for t, size, name in record)
    folder.arrivals.write_text(text + "half a li")
    assert [line for _, line in NewLines(folder).so_far()] == [b"one", b"two", b"three", b"four"]


@pytest.mark.parametrize(("tail", "count"), [(None, 3), (0, 0), (1, 1), (2, 2), (9, 3)])
def test_every_line_has_a_name_and_a_tail_is_of_all(
    folder: RunFolder, tail: int | None, count: int
) -> None:
    write(folder, "a", "one\ntwo\n")
    write(folder, "b", "without a newline")
    chunks = list(merged(folder, follow=False, tail=tail))
    assert len(chunks) == count
    assert all(chunk.data.startswith(b"[worker-") for chunk in chunks)
    assert all(chunk.data.endswith(b"\n") for chunk in chunks)


@pytest.mark.parametrize(("attempt", "lines"), [(None, 3), (0, 1), (1, 1), (2, 1)])
def test_the_workers_of_one_attempt(folder: RunFolder, attempt: int | None, lines: int) -> None:
    for ending in ("", "-attempt-1", "-attempt-2"):
        folder.log(f"job-default-worker-0{ending}").write_text(f"in{ending}\n")
    found = list(merged(folder, follow=False, tail=None, attempt=attempt))
    assert len(found) == lines
    if attempt is not None:
        assert all(attempt_of_worker(chunk.pod) == attempt for chunk in found)


def test_new_lines_come_once_and_whole(folder: RunFolder) -> None:
    new = NewLines(folder)
    write(folder, "a", "one\ntw")
    assert [line for _, line in new.since(to_the_end=False)] == [b"one"]
    write(folder, "a", "o\nrest")
    assert [line for _, line in new.since(to_the_end=False)] == [b"two"]
    assert [line for _, line in new.since(to_the_end=True)] == [b"rest"]
    write(folder, "a", "skipped\n")
    new.skip()
    assert not list(new.since(to_the_end=True))


def test_a_shortened_log_loses_its_recorded_times_only(tmp_path: Path) -> None:
    record = tmp_path / "arrivals"
    record.write_text("1.0 100 w\n2.0 200 w\n3.0 50 w\n4.0 60 w\n")
    arrivals = Arrivals(record)
    assert [arrivals.at("w", offset) for offset in (0, 49, 50, 1000)] == [3.0, 3.0, 4.0, 4.0]
    assert arrivals.at("other", 0) == 0.0


@pytest.mark.parametrize("line", [b"", b"text", b"2026-13-45 99:99:99,000 - x", b"2026-01-01"])
def test_a_line_without_a_time_has_none(line: bytes) -> None:
    assert own_time(line) is None


@pytest.mark.parametrize(
    ("pod", "name"),
    [("sums-default-worker-1a", "worker-1a"), ("sums-gpu-worker-2b", "gpu-worker-2b")],
)
def test_a_name_leaves_out_the_jobs(pod: str, name: str) -> None:
    assert short_name(pod, "sums") == name
