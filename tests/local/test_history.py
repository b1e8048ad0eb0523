"""The history of a run: samples of what its scheduler answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daskjob.backends.local import history
from daskjob.backends.local.history import HistoryFile, read_history
from daskjob.core.dask import DaskState, DaskWorker, TaskCounts

START = datetime(2026, 1, 31, 8, tzinfo=UTC)


def state(*workers: str, done: int = 0, total: int = 0) -> DaskState:
    found = tuple(DaskWorker(name, f"tcp://{name}:1", memory=100) for name in workers)
    return DaskState(TaskCounts(9, done), workers=found, workers_total=total or len(workers))


def test_workers_are_there_from_their_first_sample_to_their_last(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path / "history.jsonl")
    for second, names in enumerate(["", "a", "ab", "b", "b", "ab"]):
        file.see(START + timedelta(seconds=second), 0, state(*names, done=second))
    file.see(START + timedelta(seconds=9), 1, state("b"))
    found = read_history(tmp_path / "history.jsonl")
    assert found is not None
    began = START.timestamp()
    assert found["workers"]["rows"] == [
        ["a", 0, began + 1, began + 3],
        ["b", 0, began + 2, None],
        ["a", 0, began + 5, None],
        ["b", 1, began + 9, None],
    ]
    assert found["rows"][2] == [began + 2, 0, 2, 200, 9, 2, 0, 0]
    assert len(found["rows"]) == 7


def test_answer_without_all_workers_ends_no_worker(tmp_path: Path) -> None:
    file = HistoryFile(tmp_path / "history.jsonl")
    file.see(START, 0, state("a", "b"))
    file.see(START + timedelta(seconds=1), 0, state("a", total=2))
    found = read_history(tmp_path / "history.jsonl")
    assert found is not None
    assert [row[3] for row in found["workers"]["rows"]] == [None, None]
    assert [row[2] for row in found["rows"]] == [2, 2]


@pytest.mark.parametrize(("days", "most"), [(0.1, 2000), (1, 3000), (7, 4000)])
def test_long_run_has_few_samples(tmp_path: Path, days: float, most: int) -> None:
    file = HistoryFile(tmp_path / "history.jsonl")
    for second in range(0, int(days * 86400), 2):
        file.see(START + timedelta(seconds=second), 0, state("a", done=second))
    found = read_history(tmp_path / "history.jsonl")
    assert found is not None
    assert 100 < len(found["rows"]) < most


def test_large_file_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "LIMIT_BYTES", 1000)
    file = HistoryFile(tmp_path / "history.jsonl")
    for second in range(100):
        file.see(START + timedelta(seconds=second), 0, state(str(second)))
    assert (tmp_path / "history.jsonl").stat().st_size < 1200


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]\nnull\n",
        '{"row": [1, 2]}\n',
        '{"row": ["a", 0, 0, 0, 0, 0, 0, 0]}\n{"row": [1',
    ],
)
def test_broken_lines_are_left_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "history.jsonl").write_text(text)
    assert read_history(tmp_path / "history.jsonl") is None


def test_missing_folder_costs_samples_only(tmp_path: Path) -> None:
    HistoryFile(tmp_path / "gone" / "history.jsonl").see(START, 0, state("a"))
    assert read_history(tmp_path / "gone" / "history.jsonl") is None
