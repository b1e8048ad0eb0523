"""The live line at every width, with every name, and its estimate of the rest."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from rich.cells import cell_len

from daskjob.submit.terminal.live_line import LineFacts, RestEstimate, live_line, painted, wrapped

FACTS = LineFacts(
    name="census-x2k9f",
    phase="Running",
    elapsed=timedelta(seconds=12),
    ready=4,
    desired=4,
    done=28,
    total=80,
    stage="read_csv",
    rest=timedelta(seconds=22),
    memory_bytes=3 * 2**30,
)

NAMES = ["a", "census-x2k9f", "n" * 63, "日本語の長い名前のジョブ" * 4, "new\nline\x1b[31m\r"]


def text(facts: LineFacts, width: int) -> str:
    return "".join(part for part, _ in live_line(facts, width))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stage", ["", *NAMES])
def test_it_fits_in_every_width_from_39_on(name: str, stage: str) -> None:
    facts = LineFacts(
        name=name,
        phase="Retrying",
        elapsed=timedelta(hours=27, minutes=3),
        ready=1000,
        desired=1000,
        attempt=12,
        done=123456,
        total=1234567,
        erred=77,
        stage=stage,
        rest=timedelta(hours=300),
        memory_bytes=999 * 2**30,
    )
    for width in range(39, 220):
        line = text(facts, width)
        assert cell_len(line) <= width
        assert line.isprintable()
        assert "Retrying" in line
        assert "123456/1234567" in line or width < 60


def test_it_shows_everything_where_there_is_room() -> None:
    line = text(FACTS, 120)
    for part in (
        *("census-x2k9f", "Running 12s", "4/4 workers", "3 GiB", "read_csv"),
        *("28/80 tasks", "~22s left", "━", "─"),
    ):
        assert part in line, line


def test_at_40_columns_it_shows_stage_counts_time_rest_and_memory() -> None:
    line = text(FACTS, 39)
    for part in ("Running 12s", "read_…", "28/80", "~22s", "3 GiB"):
        assert part in line, line


@pytest.mark.parametrize("width", [79, 99, 119, 199])
def test_nothing_moves_when_the_stage_changes(width: int) -> None:
    name = "monthly-airport-report-x2k9f"
    lines = [
        text(replace(FACTS, name=name, stage=stage), width)
        for stage in ("", "load", "read_csv", "summarize-by-airport-and-month" * 3)
    ]
    assert len({line.find("28/80 tasks ~22s left") for line in lines}) == 1
    assert len({line.count("━") + line.count("─") for line in lines}) == 1
    assert all("━" in line for line in lines)
    assert all((name in line) == (width > 100) for line in lines)


@pytest.mark.parametrize("width", range(1, 39))
def test_no_number_is_cut(width: int) -> None:
    words = {"Running", "12s", "28/80", "~22s", "3", "GiB", "read_csv"}
    for word in text(FACTS, width).split():
        assert word in words or word.endswith("…")
        assert not (word.endswith("…") and word[0].isdigit() and width > 12)


def test_without_workers_none_are_counted() -> None:
    assert text(LineFacts("a", "Running", timedelta(seconds=3), 0, 0), 80) == "a Running 3s"


def test_a_rest_below_a_second_is_not_none() -> None:
    assert "~1s left" in text(replace(FACTS, rest=timedelta(seconds=0.3)), 120)


def test_failed_tasks_are_red_and_nothing_is_dim() -> None:
    pieces = live_line(replace(FACTS, erred=3), 150)
    assert (" 3 failed", "bold red") in pieces
    data = painted(pieces, colour=True)
    assert b"\x1b[1;31m 3 failed\x1b[0m" in data
    assert b"\x1b[2m" not in data
    assert b"\x1b" not in painted(pieces, colour=False)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(0, 0, 100), (10, 50, 100)], 10),
        ([(0, 0, 100), (1, 50, 100)], None),
        ([(0, 0, 100), (10, 0, 100)], None),
        ([(0, 0, 100), (10, 100, 100)], None),
        # The speed of the last minute, not that of the beginning.
        ([(0, 0, 1000), (100, 10, 1000), (110, 510, 1000)], 9.8),
        # A graph that grows; results that were released.
        ([(0, 0, 100), (10, 50, 300)], 50),
        ([(0, 80, 100), (10, 90, 100), (11, 0, 50), (21, 25, 50)], 10),
    ],
)
def test_the_rest_follows_the_present_speed(
    steps: list[tuple[int, int, int]], expected: float | None
) -> None:
    estimate = RestEstimate()
    for now, done, total in steps:
        found = estimate.seconds(now, done, total)
    if expected is None:
        assert found is None
    else:
        assert found == pytest.approx(expected, rel=0.02)


URL = "http://127.0.0.1:41337/status"


@pytest.mark.parametrize(
    ("message", "width", "rows"),
    [
        ("daskjob: a short one", 20, ["daskjob: a short one"]),
        (f"daskjob: dashboard {URL}", 40, ["daskjob: dashboard", f"  {URL}"]),
        (f"daskjob: {URL}", 12, ["daskjob:", f"  {URL}"]),
        ("daskjob: 日本語 日本語", 16, ["daskjob: 日本語", "  日本語"]),
        ("daskjob: a\n  b  c", 40, ["daskjob: a", "  b  c"]),
    ],
)
def test_a_message_breaks_between_words(message: str, width: int, rows: list[str]) -> None:
    assert wrapped(message, width) == rows
