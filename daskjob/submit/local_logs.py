"""The logs of a job on this machine: finding a log file, reading its end, following it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from daskjob.backends.local.arrivals import Arrivals
from daskjob.backends.local.run_folder import RunFolder
from daskjob.core import names
from daskjob.core.manifests import metadata
from daskjob.core.status import JobStatus, job_status_from
from daskjob.submit.jobs import LogChunk
from daskjob.submit.worker_logs import attempt_of_worker
from daskjob.submit.worker_names import NoSuchLog, listed, worker_named

#: How often a followed log is read, in seconds.
FOLLOW_SECONDS = 0.2
#: Maximum bytes in one chunk of a log.
CHUNK_BYTES = 1 << 20
#: Bytes that an explanation reads from the end of a log.
TAIL_BYTES = 16 * 1024

#: The ends of pods' names, by component.
_ENDS = {"scheduler": r"-scheduler(-attempt-\d+)?"}


@dataclass(frozen=True, slots=True)
class Begin:
    """Where to begin in what a log has so far: its last N lines, those since a moment."""

    tail: int | None = None
    since: datetime | None = None

    def offset(self, folder: RunFolder, path: Path) -> int:
        """Return where to begin in a log."""
        tail = 0 if self.tail is None else _offset_of_tail(path, self.tail)
        return max(tail, 0 if self.since is None else self._offset_since(folder, path))

    def _offset_since(self, folder: RunFolder, path: Path) -> int:
        assert self.since is not None
        moment, written = self.since.timestamp(), path.stat()
        if written.st_mtime < moment:
            return written.st_size
        arrivals = Arrivals(folder.arrivals)
        return _line_start(path, arrivals.offset_since(path.stem, moment))


def wanted_log(folder: RunFolder, attempt: int | None, pod: str) -> Path:
    """Return the path of the requested log; it may not exist yet while the job runs.

    Raises
    ------
    NoSuchLog
        There is no such log; the message names the existing ones.
    """
    if pod in ("", "runner"):
        path = _runner_log(folder, _last_attempt(folder) if attempt is None else attempt)
        if path.exists() or folder.is_live():
            return path
    known = sorted(path.stem for path in folder.logs.glob("*.log"))
    for stem in _like(pod, known):
        return folder.logs / f"{stem}.log"
    raise NoSuchLog(f"there is no such log; logs of this job: {listed(known)}")


def _like(pod: str, known: list[str]) -> list[str]:
    """Return the log of this name, or those of a component, or with a text in their names."""
    if pod in ("", "runner"):
        return []
    if pod in known:
        return [pod]
    if pod in _ENDS:
        return [stem for stem in known if re.search(f"{_ENDS[pod]}$", stem)]
    return [stem for stem in known if pod in stem]


def wanted_worker(folder: RunFolder, attempt: int | None, worker: str) -> Path:
    """Return the log of a worker that a user names.

    Raises
    ------
    NoSuchLog
        There is no such worker; the message names the existing ones.
    """
    stems = [path.stem for path in folder.worker_logs()]
    of_attempt = [s for s in stems if attempt in (None, attempt_of_worker(s))]
    # Of several attempts, the last one.
    of_attempt.sort(key=attempt_of_worker, reverse=True)
    return folder.logs / f"{worker_named(worker, of_attempt, folder.name)}.log"


def _last_attempt(folder: RunFolder) -> int:
    """Return the last attempt whose runner has a log."""
    attempt = _status(folder).attempt
    while attempt and not _runner_log(folder, attempt).exists():
        attempt -= 1
    return attempt


def _runner_log(folder: RunFolder, attempt: int) -> Path:
    job = str(metadata(folder.job()).get("name"))
    return folder.log(names.runner_name(job, attempt))


def _status(folder: RunFolder) -> JobStatus:
    return job_status_from(folder.job().get("status"))


def followed(folder: RunFolder, begin: Begin) -> Iterator[LogChunk]:
    """Yield the runners' logs from the current attempt on, until the job ends."""
    number = _status(folder).attempt
    while True:
        yield from printed(folder, _runner_log(folder, number), follow=True, begin=begin)
        status = _status(folder)
        if status.finished or status.attempt == number:
            return
        number, begin = number + 1, Begin(since=begin.since)


def printed(folder: RunFolder, path: Path, *, follow: bool, begin: Begin) -> Iterator[LogChunk]:
    """Yield a log unchanged; following ends with the job, or with the log's attempt."""
    while follow and not path.exists() and not _status(folder).finished:
        time.sleep(FOLLOW_SECONDS)
    if not path.exists():
        return
    with path.open("rb") as log:
        log.seek(begin.offset(folder, path))
        while True:
            # Checked before the last read, so that everything written until the end is read.
            ended = not follow or _is_over(folder, path)
            if path.stat().st_size < log.tell():
                # It was shortened; what was left of it has been printed, all but the last moments.
                log.seek(0, os.SEEK_END)
            while data := log.read(CHUNK_BYTES):
                yield LogChunk(path.stem, data)
            if ended:
                return
            time.sleep(FOLLOW_SECONDS)


def _is_over(folder: RunFolder, path: Path) -> bool:
    """Return whether the log is complete: the job has ended, or this attempt has."""
    status = _status(folder)
    ended = {attempt.runner_pod_name for attempt in status.attempts}
    return status.finished or path.stem in ended


def _offset_of_tail(path: Path, lines: int) -> int:
    """Return the offset at which the last lines of a file begin."""
    if lines == 0:
        return path.stat().st_size
    with path.open("rb") as file:
        end = file.seek(0, 2)
        position, found = end, 0
        while position > 0:
            step = min(65536, position)
            position -= step
            file.seek(position)
            block = file.read(step)
            # A newline at the very end closes the last line and does not begin another.
            stop = len(block) - 1 if position + step == end else len(block)
            while (index := block.rfind(b"\n", 0, stop)) >= 0:
                found += 1
                if found == lines:
                    return position + index + 1
                stop = index
    return 0


def _line_start(path: Path, offset: int) -> int:
    """Return where the line begins that has the byte at an offset."""
    with path.open("rb") as file:
        while offset > 0:
            step = min(4096, offset)
            file.seek(offset - step)
            newline = file.read(step).rfind(b"\n")
            if newline >= 0:
                return offset - step + newline + 1
            offset -= step
    return 0


def tail_of(path: Path) -> str:
    """Return the end of a log as text."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - TAIL_BYTES, 0))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
