"""What is kept of runs: logs up to a length, runs up to a number, an age and a size.

Without limits, the logs of one busy worker fill the disk, and every command reads the records of
all runs that there ever were.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from daskjob.backends.local.own_files import own_file
from daskjob.backends.local.run_folder import RunFolder
from daskjob.core.errors import DaskJobError
from daskjob.core.quantity import parse_bytes

#: How many runs are kept, for how many days after their last change, and how large they may be
#: together; and the longest log. Each is also the default of a variable of the environment.
KEPT_RUNS = 200
KEPT_DAYS = 30.0
KEPT_SIZE = "1GiB"
LOG_SIZE = "64MiB"
#: The most runs that are removed at a time, and for how long: people wait for the end of a command.
MOST_REMOVED = 100
PRUNE_SECONDS = 2.0
#: A run that has just ended is not removed: its process still prints the end of its log.
JUST_ENDED_SECONDS = 2.0
#: For how long a folder without a job is kept: its run may be starting.
NO_JOB_SECONDS = 24 * 3600.0
#: What is kept of a log that is too long: these parts of the limit, its beginning and its end.
HEAD_PART = 8
TAIL_PART = 4


class InvalidLimit(DaskJobError):
    """A variable of the environment that sets a limit has another value than a number or a size."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept of runs."""

    runs: int = KEPT_RUNS
    seconds: float = KEPT_DAYS * 24 * 3600
    size: int = parse_bytes(KEPT_SIZE)
    log_bytes: int = parse_bytes(LOG_SIZE)


def limits_from(environment: Mapping[str, str]) -> Limits:
    """Return the limits that the environment sets, and the defaults for the others.

    Raises
    ------
    InvalidLimit
        A value is not a number, or not a size.
    """
    return Limits(
        runs=int(_number(environment, "DASKJOB_KEEP_RUNS", str(KEPT_RUNS), whole=True)),
        seconds=_number(environment, "DASKJOB_KEEP_DAYS", str(KEPT_DAYS)) * 24 * 3600,
        size=_bytes(environment, "DASKJOB_KEEP_SIZE", KEPT_SIZE),
        log_bytes=_bytes(environment, "DASKJOB_LOG_SIZE", LOG_SIZE),
    )


def _number(
    environment: Mapping[str, str], name: str, default: str, *, whole: bool = False
) -> float:
    text = environment.get(name) or default
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        number = -1
    if not 0 <= number < 1e9:
        kind = "whole number" if whole else "number"
        raise InvalidLimit(f"{name}={text}: write a {kind}, 0 or more, such as {default}")
    return number


def _bytes(environment: Mapping[str, str], name: str, default: str) -> int:
    text = environment.get(name) or default
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise InvalidLimit(f"{name}={text}: write a size, such as {default}") from error


def shorten(log: Path, limit: int) -> None:
    """Cut the middle out of a log that is longer than the limit, and leave a note there.

    Processes may go on writing, since they append to it; what they write during the cut is lost.

    Raises
    ------
    OSError
        The log cannot be read or written.
    """
    head, tail = limit // HEAD_PART, limit // TAIL_PART
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


def prune(root: Path, limits: Limits) -> None:
    """Remove the oldest runs above the limits; the newest run and running ones always stay.

    Where another process does so at the moment, it is left to that one. No run that starts waits
    for it: a folder belongs to a run that has begun if it is locked or has no job yet.

    Raises
    ------
    OSError
        The state directory cannot be read or written.
    """
    give_up = time.monotonic() + PRUNE_SECONDS
    with _only_pruner(root) as alone:
        if not alone:
            return
        now = time.time()
        found = sorted(_runs(root), key=lambda run: run.changed_at, reverse=True)
        superfluous = [*_superfluous(found, limits, now), *_abandoned(root, now)]
        for run in superfluous[: -MOST_REMOVED - 1 : -1]:
            if now - run.changed_at < JUST_ENDED_SECONDS or run.folder.is_live():
                continue
            run.folder.remove()
            if time.monotonic() > give_up:
                return


@contextmanager
def _only_pruner(root: Path) -> Iterator[bool]:
    """Yield whether no other process removes runs of this directory at the moment."""
    with own_file(root / ".prune") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _runs(root: Path) -> Iterator[_Run]:
    for path in root.iterdir():
        folder = RunFolder(path)
        # Deleted in the meantime, or not a run's.
        with suppress(OSError):
            changed = (path / "job.json").stat().st_mtime
            if folder.is_ours():
                yield _Run(folder, changed)


def _abandoned(root: Path, now: float) -> Iterator[_Run]:
    """Yield the folders of runs that could not even write their job, as on a full disk."""
    for path in root.iterdir():
        folder = RunFolder(path)
        with suppress(OSError):
            changed = path.stat().st_mtime
            a_run = (path / "lock").exists() or folder.logs.is_dir()
            has_job = (path / "job.json").exists()
            if a_run and not has_job and folder.is_ours() and now - changed > NO_JOB_SECONDS:
                yield _Run(folder, changed)


def _superfluous(found: list[_Run], limits: Limits, now: float) -> list[_Run]:
    """Return the runs above the limits, newest first."""
    superfluous = []
    size, oldest = limits.size, now - limits.seconds
    for number, run in enumerate(found):
        size -= _size(run.folder.path)
        if number and (number >= limits.runs or run.changed_at < oldest or size < 0):
            superfluous.append(run)
    return superfluous


def _size(path: Path) -> int:
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
