"""What is kept of runs: logs up to a length, runs up to a number, an age and a size.

Without limits, the logs of one busy worker fill the disk, and every command reads the records of
all runs that there ever were.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from daskjob.backends.local.state import RunFolder, exclusive

#: The longest log, and what is kept of a longer one: its beginning and its end.
LOG_BYTES = 64 * 1024 * 1024
HEAD_BYTES = 8 * 1024 * 1024
TAIL_BYTES = 8 * 1024 * 1024
#: How many runs are kept, for how long after their last change, and how large they may be together.
KEPT_RUNS = 200
KEPT_SECONDS = 30 * 24 * 3600.0
KEPT_BYTES = 1024**3
#: The most runs that are removed at a time: nobody waits long for the end of a command.
MOST_REMOVED = 100


def shorten(
    log: Path, *, limit: int = LOG_BYTES, head: int = HEAD_BYTES, tail: int = TAIL_BYTES
) -> None:
    """Cut the middle out of a log that is longer than the limit, and leave a note there.

    Processes may go on writing, since they append to it; what they write during the cut is lost.

    Raises
    ------
    OSError
        The log cannot be read or written.
    """
    with log.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size <= limit:
            return
        file.seek(size - tail)
        end = file.read(tail)
        file.truncate(head)
    with log.open("ab") as file:
        file.write(_note(size - head - len(end)) + end)


def _note(cut: int) -> bytes:
    text = f"daskjob: {cut} bytes of this log were left out here, since it became too long"
    return f"\n[{text}]\n".encode()


@dataclass(frozen=True, slots=True)
class _Run:
    """A run as its folder shows it, without a look into its files."""

    folder: RunFolder
    changed_at: float


def prune(
    root: Path,
    *,
    runs: int = KEPT_RUNS,
    seconds: float = KEPT_SECONDS,
    size: int = KEPT_BYTES,
) -> None:
    """Remove the oldest runs above the limits; the newest run and running ones always stay.

    Raises
    ------
    OSError
        The state directory cannot be read or written.
    """
    with exclusive(root):
        found = sorted(_runs(root), key=lambda run: run.changed_at, reverse=True)
        for run in _superfluous(found, runs, time.time() - seconds, size)[-MOST_REMOVED:]:
            if not run.folder.is_live():
                run.folder.remove()


def _runs(root: Path) -> Iterator[_Run]:
    for path in root.iterdir():
        # Deleted in the meantime, or not a run's.
        with suppress(OSError):
            yield _Run(RunFolder(path), (path / "job.json").stat().st_mtime)


def _superfluous(found: list[_Run], runs: int, oldest: float, size: int) -> list[_Run]:
    """Return the runs above the limits, newest first."""
    superfluous = []
    for number, run in enumerate(found):
        size -= _size(run.folder.path)
        if number and (number >= runs or run.changed_at < oldest or size < 0):
            superfluous.append(run)
    return superfluous


def _size(path: Path) -> int:
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
