"""The logs of a job on this machine: finding a log file, reading its end, following it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from daskjob.backends.local.run_folder import RunFolder
from daskjob.core import names
from daskjob.core.errors import NotFound
from daskjob.core.manifests import metadata
from daskjob.core.status import JobStatus, job_status_from
from daskjob.submit.jobs import LogChunk

#: How often a followed log is read, in seconds.
FOLLOW_SECONDS = 0.2
#: Maximum bytes in one chunk of a log.
CHUNK_BYTES = 1 << 20
#: Bytes that an explanation reads from the end of a log.
TAIL_BYTES = 16 * 1024


def wanted_log(folder: RunFolder, attempt: int | None, pod: str) -> Path:
    """Return the path of the requested log; it may not exist yet while the job runs.

    Raises
    ------
    NotFound
        There is no such log; the message names the existing ones.
    """
    if not pod:
        path = _runner_log(folder, _last_attempt(folder) if attempt is None else attempt)
        if path.exists() or folder.is_live():
            return path
    known = sorted(path.stem for path in folder.logs.glob("*.log"))
    if pod:
        part = {"scheduler": "-scheduler", "runner": "-runner", "worker": "-worker-"}.get(pod, pod)
        for stem in known:
            if part in stem:
                return folder.logs / f"{stem}.log"
    existing = ", ".join(known) or "none"
    raise NotFound(f"there is no such log; logs of this job: {existing}")


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


def followed(folder: RunFolder, *, tail: int | None) -> Iterator[LogChunk]:
    """Yield the runners' logs from the current attempt on, until the job ends."""
    number = _status(folder).attempt
    while True:
        yield from printed(folder, _runner_log(folder, number), follow=True, tail=tail)
        status = _status(folder)
        if status.finished or status.attempt == number:
            return
        number, tail = number + 1, None


def printed(folder: RunFolder, path: Path, *, follow: bool, tail: int | None) -> Iterator[LogChunk]:
    """Yield a log unchanged; following ends with the job, or with the log's attempt."""
    while follow and not path.exists() and not _status(folder).finished:
        time.sleep(FOLLOW_SECONDS)
    if not path.exists():
        return
    with path.open("rb") as log:
        if tail is not None:
            log.seek(_offset_of_tail(path, tail))
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


def tail_of(path: Path) -> str:
    """Return the end of a log as text."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - TAIL_BYTES, 0))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
