"""The table of ``daskjob list`` fits the screen, whatever the names and the width."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from daskjob.core.manifests import Manifest
from daskjob.submit.cli import cli
from daskjob.submit.cli.output import shortened
from tests.submit.in_memory_jobs import InMemoryJobs
from tests.submit.places import manifest

TIMES = {"startTime": "2026-01-01T10:00:00Z", "endTime": "2026-01-01T10:00:42Z"}
LONG = "a-very-long-name-of-a-nightly-job-that-nobody-can-read-at-once-x2k9f"
HEADER = ["NAME", "STATUS", "REASON", "PROGRESS", "WORKERS", "ATTEMPTS", "AGE", "TOOK"]


def status(reason: str, total: int) -> Manifest:
    return {
        "jobStatus": "Failed",
        "phase": "Failed",
        "reason": reason,
        **TIMES,
        "attempts": [{"number": 0, "reason": reason, "endTime": TIMES["endTime"]}],
        "progress": {"total": total, "done": total},
        "report": {"workers": {"peak": 1000}},
    }


def listed(width: int, *names: str, output: tuple[str, ...] = ()) -> list[str]:
    jobs = InMemoryJobs()
    for number, name in enumerate(names):
        job = manifest(name, uid=str(number), status=status("StartupDeadlineExceeded", 10**number))
        jobs.add(job)
    done = CliRunner().invoke(
        cli, ["list", *output], obj=jobs, env={"COLUMNS": str(width), "PYTHONUTF8": "1"}
    )
    assert done.exit_code == 0
    return done.stdout.splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 132])
@pytest.mark.parametrize("names", [(LONG,), ("a", LONG, "my-script-x2k9f"), (LONG,) * 8])
def test_every_row_is_one_line_and_only_names_are_shortened(
    width: int, names: tuple[str, ...]
) -> None:
    header, *rows = listed(width, *names)
    assert len(rows) == len(names)
    assert max(map(len, (header, *rows))) <= width
    shown = header.split()
    assert [word for word in HEADER if word in shown] == shown
    assert shown[:2] == ["NAME", "STATUS"]
    words = {"Failed", "StartupDeadlineExceeded", "1000/1000", "42s", "1"}
    for row in rows:
        name, *rest = row.split()
        assert name in names or name.endswith("9f")
        for word in rest:
            assert word in words or "/" in word or word[-1] in "smhd"


def test_a_wide_screen_shows_everything_and_so_does_wide() -> None:
    for lines in (listed(250, LONG), listed(80, LONG, output=("-o", "wide"))):
        assert lines[0].split() == HEADER
        assert lines[1].split()[:2] == [LONG, "Failed"]
    assert listed(40, LONG, output=("-o", "name")) == [f"daskjob/{LONG}"]


def test_table_of_short_names_and_reasons_is_complete_at_80_columns() -> None:
    jobs = InMemoryJobs()
    jobs.add(manifest("my-script-x2k9f", status={**status("Completed", 1280)}))
    lines = CliRunner().invoke(cli, ["list"], obj=jobs, env={"COLUMNS": "80"}).stdout.splitlines()
    assert lines[0].split() == HEADER
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("room", [8, 11, 20, 68])
def test_shortened_name_keeps_both_ends_and_its_length(room: int) -> None:
    short = shortened(LONG, room)
    assert len(short) == room
    assert LONG.startswith(short[:3])
    assert LONG.endswith(short[-2:])
