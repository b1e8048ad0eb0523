"""The logs of all workers of a job on this machine as one: by time, each line with a name."""

from __future__ import annotations

import heapq
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from daskjob.backends.local.arrivals import Arrivals
from daskjob.backends.local.run_folder import RunFolder
from daskjob.core.status import job_status_from
from daskjob.submit.jobs import LogChunk
from daskjob.submit.worker_names import NoSuchLog, short_name

#: How often followed logs are read, in seconds.
FOLLOW_SECONDS = 0.2
#: The most that is read of a followed log at a time.
READ_BYTES = 256 * 1024
#: The longest line that is kept until its newline comes.
OPEN_LINE_BYTES = 64 * 1024

_TIME = re.compile(rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3}) ")

_ATTEMPT = re.compile(r"-attempt-(\d+)(?=-|$)")

Line = tuple[float, str, bytes]


def merged(
    folder: RunFolder,
    *,
    follow: bool,
    tail: int | None,
    attempt: int | None = None,
    since: datetime | None = None,
) -> Iterator[LogChunk]:
    """Yield the lines of all workers, or of those of one attempt, from a moment on.

    Raises
    ------
    NoSuchLog
        No worker has started, and the job has ended.
    """
    new = NewLines(folder, attempt)
    if not new.logs() and not folder.is_live():
        which = "this job" if attempt is None else f"attempt {attempt}"
        raise NoSuchLog(f"no worker of {which} has a log")
    lines = new.so_far(since.timestamp() if since else 0.0)
    for pod, line in lines[-tail:] if tail else lines[: None if tail is None else 0]:
        yield _chunk(folder, pod, line)
    while follow:
        ended = job_status_from(folder.job().get("status")).finished
        for pod, line in new.since(to_the_end=ended):
            yield _chunk(folder, pod, line)
        if ended:
            return
        time.sleep(FOLLOW_SECONDS)


def _chunk(folder: RunFolder, pod: str, line: bytes) -> LogChunk:
    return LogChunk(pod, f"[{short_name(pod, folder.name)}] ".encode() + line + b"\n")


class NewLines:
    """The lines of workers' logs: those so far by time, later ones as they come."""

    def __init__(self, folder: RunFolder, attempt: int | None = None) -> None:
        self._folder = folder
        self._attempt = attempt
        self._offsets: dict[Path, int] = {}
        self._open: dict[Path, bytes] = {}

    def logs(self) -> list[Path]:
        """Return the logs of the workers that have started."""
        found = self._folder.worker_logs()
        return [p for p in found if self._attempt in (None, attempt_of_worker(p.stem))]

    def so_far(self, since: float = 0.0) -> list[tuple[str, bytes]]:
        """Return the lines from a moment on, with the names of their logs, by time."""
        arrivals = Arrivals(self._folder.arrivals)
        logs = [list(self._timed(path, arrivals)) for path in self.logs()]
        by_time = heapq.merge(*logs, key=lambda line: line[0])
        return [(pod, line) for at, pod, line in by_time if at >= since]

    def _timed(self, path: Path, arrivals: Arrivals) -> Iterator[Line]:
        """Yield the lines of a log with their times, which never go back."""
        try:
            data = path.read_bytes()
        except OSError:
            return
        self._offsets[path] = len(data)
        offset, at = 0, 0.0
        for line in data.splitlines(keepends=True):
            at = max(at, own_time(line) or arrivals.at(path.stem, offset))
            offset += len(line)
            yield at, path.stem, line.rstrip(b"\r\n")

    def since(self, *, to_the_end: bool) -> Iterator[tuple[str, bytes]]:
        """Yield new lines; ``to_the_end``: also those without a newline."""
        for path in self.logs():
            lines = (self._open.pop(path, b"") + self._new(path)).split(b"\n")
            if not to_the_end and len(lines[-1]) < OPEN_LINE_BYTES:
                self._open[path] = lines.pop()
            elif not lines[-1]:
                lines.pop()
            for line in lines:
                yield path.stem, line

    def skip(self) -> None:
        """Leave out what was written since the last call."""
        self._open.clear()
        for path in self.logs():
            with suppress(OSError):
                self._offsets[path] = path.stat().st_size

    def _new(self, path: Path) -> bytes:
        offset = self._offsets.get(path, 0)
        try:
            with path.open("rb") as log:
                size = log.seek(0, 2)
                if size < offset:
                    # It was shortened; all but the last moments of what is left was shown.
                    offset = size
                log.seek(offset)
                data = log.read(READ_BYTES)
        except OSError:
            return b""
        self._offsets[path] = offset + len(data)
        return data


def attempt_of_worker(pod: str) -> int:
    """Return the attempt in the name of a worker; that of the first has none."""
    found = _ATTEMPT.search(pod)
    return int(found[1]) if found else 0


def own_time(line: bytes) -> float | None:
    """Return the time at the beginning of a log record, in seconds since the epoch."""
    found = _TIME.match(line)
    if found is None:
        return None
    try:
        moment = datetime.strptime(found.group(1).decode(), "%Y-%m-%d %H:%M:%S")
        return moment.timestamp() + int(found.group(2)) / 1000
    except (ValueError, OverflowError):
        return None
