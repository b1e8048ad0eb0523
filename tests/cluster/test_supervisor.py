"""The supervisor starts components once their requirements exist, and restarts them."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_until

SUPERVISOR = Path(__file__).with_name("supervisor.py")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The folder of a cluster whose supervisor runs (without its own namespaces)."""
    for name in ("units", "logs"):
        (tmp_path / name).mkdir()
    command = [sys.executable, "-I", str(SUPERVISOR), str(tmp_path)]
    with subprocess.Popen(command) as process:
        yield tmp_path
        for unit in (tmp_path / "units").glob("*.json"):
            unit.unlink()
        wait_until(lambda: not Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        process.kill()


def add(folder: Path, name: str, script: str, *after: str) -> None:
    new = folder / "units" / f"{name}.new"
    new.write_text(json.dumps({"argv": ["sh", "-c", script], "after": after}))
    new.rename(new.with_suffix(".json"))


def said(folder: Path, name: str) -> list[str]:
    log = folder / "logs" / f"{name}.log"
    return log.read_text().splitlines() if log.exists() else []


def test_component_starts_once_its_requirements_exist(folder: Path) -> None:
    add(folder, "late", "echo started; exec sleep 600", str(folder / "needed"))
    add(folder, "early", f"touch {folder / 'needed'}; exec sleep 600")
    wait_until(lambda: said(folder, "late") == ["started"])


def test_component_that_ends_is_restarted_and_others_are_not(folder: Path) -> None:
    add(folder, "steady", "echo $$; exec sleep 600")
    add(folder, "killed", "echo $$; exec sleep 600")
    wait_until(lambda: said(folder, "killed") and said(folder, "steady"))
    os.kill(int(said(folder, "killed")[0]), signal.SIGKILL)
    wait_until(lambda: len(said(folder, "killed")) == 2)
    assert len(said(folder, "steady")) == 1


def test_component_that_fails_at_once_is_restarted_with_a_growing_delay(folder: Path) -> None:
    add(folder, "failing", "date +%s.%N; exit 1")
    wait_until(lambda: len(said(folder, "failing")) == 4)
    moments = [float(line) for line in said(folder, "failing")]
    waits = [after - before for before, after in itertools.pairwise(moments)]
    # On a busy machine, each start may come later, but none sooner.
    assert all(wait >= least for wait, least in zip(waits, (0.2, 0.4, 0.8), strict=True)), waits


def test_missing_program_does_not_stop_other_components(folder: Path) -> None:
    new = folder / "units" / "wrong.new"
    new.write_text(json.dumps({"argv": ["/no/such/program"]}))
    new.rename(new.with_suffix(".json"))
    wait_until(lambda: "cannot be started" in "".join(said(folder, "wrong")))
    add(folder, "right", "echo started; exec sleep 600")
    wait_until(lambda: said(folder, "right") == ["started"])


def test_component_is_stopped_when_its_file_is_removed(folder: Path) -> None:
    add(folder, "removed", "echo $$; exec sleep 600")
    wait_until(lambda: said(folder, "removed"))
    pid = said(folder, "removed")[0]
    (folder / "units" / "removed.json").unlink()
    wait_until(lambda: not Path("/proc", pid).exists())
