"""Deaths of workers, as their nannies report them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daskjob.backends.local.deaths import Death, Deaths


def only(tmp_path: Path, **record: object) -> tuple[int, str, str]:
    path = tmp_path / "deaths"
    path.write_text(json.dumps({"at": 1e9, **record}) + "\n")
    (death,) = Deaths(path).new()
    return death.exit_code, death.reason, death.message


def test_each_kind_of_death_is_explained(tmp_path: Path) -> None:
    memory = {"memory": 300_000_000, "limit": 256 * 2**20}
    assert only(tmp_path, code=143, **memory) == (
        *(137, "OOMKilled"),
        "it exceeded its memory limit of 256 MiB",
    )
    assert only(tmp_path, code=139) == (139, "Error", "it was killed by SIGSEGV")
    assert only(tmp_path, code=137) == (137, "Error", "it was killed by SIGKILL")
    assert only(tmp_path, code=3) == (3, "Error", "its process ended with exit code 3")


def test_each_death_is_returned_once_and_only_when_its_line_is_whole(tmp_path: Path) -> None:
    deaths = Deaths(tmp_path / "deaths")
    assert deaths.new() == []
    deaths.path.write_text('{"code": 1, "at": 5}\n{"code": 2, "at"')
    assert [death.exit_code for death in deaths.new()] == [1]
    assert deaths.new() == []
    with deaths.path.open("a") as file:
        file.write(': 6}\n{"code": 3, "at": 7}\n')
    assert [death.exit_code for death in deaths.new()] == [2, 3]


@pytest.mark.parametrize(
    "line",
    ["", "no JSON", "[]", "{}", '{"code": "1", "at": 1}', '{"code": 1}', '{"code":1,"at":1e99}'],
)
def test_lines_that_are_no_deaths_are_ignored(tmp_path: Path, line: str) -> None:
    path = tmp_path / "deaths"
    path.write_text(line + "\n")
    assert Deaths(path).new() == []


@pytest.mark.parametrize(
    ("code", "seconds", "expected"), [(1, 3, True), (1, 60, False), (0, 3, False), (143, 3, False)]
)
def test_a_nanny_that_cannot_restart_its_worker_fails_by_that_death(
    code: int, seconds: int, expected: bool
) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    death = Death(139, at)
    assert death.made_nanny_fail(code, at + timedelta(seconds=seconds)) is expected
