"""A command beside a connection: its exit code, its variables, and signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from daskjob.submit.clusters.child import run_child
from tests.waiting import until

#: Writes a file when it is ready, and the number of each signal; ends at SIGTERM.
NOTES = """\
import pathlib, signal, sys
ended = []
def note(number, frame):
    with open("signals", "a") as file:
        print(number, file=file)
    if number == signal.SIGTERM:
        sys.exit(6)
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, note)
pathlib.Path("ready").touch()
while True:
    signal.pause()
"""


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 3", 3), ("kill -9 $$", 137), ('test "$ADDRESS" = tcp://x && exit 7', 7)],
)
async def test_exit_code_is_that_of_the_command(script: str, code: int) -> None:
    assert await run_child(["sh", "-c", script], {"ADDRESS": "tcp://x"}) == code


async def test_signals_reach_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("daskjob.submit.clusters.child._is_in_foreground", lambda: False)
    running = asyncio.create_task(run_child([sys.executable, "-c", NOTES], {}))
    await until(lambda: (tmp_path / "ready").exists())
    seen = ""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        os.kill(os.getpid(), number)
        seen += f"{int(number)}\n"
        await until(lambda: (tmp_path / "signals").exists())
        await until(lambda want=seen: (tmp_path / "signals").read_text() == want)  # type: ignore[misc]
    assert await running == 6


async def test_command_ends_when_its_connection_does(tmp_path: Path) -> None:
    words = ["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 99"]
    running = asyncio.create_task(run_child(words, {}))
    await until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
