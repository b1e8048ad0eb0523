"""A log of a run: bytes are appended to it, however full the disk is and however much is written.

The process that runs the job writes it. The processes of the job write to a pipe, so that a full
disk is no failure of theirs: a task that prints would fail, and a worker that logs.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from daskjob.backends.local.full_disk import not_written
from daskjob.backends.local.retention import shorten

#: How much of the end of a log is kept in memory while it cannot be written.
KEPT_BYTES = 16 * 1024
#: The most that is read of a pipe at a time.
READ_BYTES = 64 * 1024


class LogFile:
    """A log with a limit; what cannot be written is left out, with a note in its place.

    Its end matters most: it is kept in memory until there is space again.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.path = path
        #: Why something was left out, once for each cause, as sentences for the user.
        self.errors: list[str] = []
        self._limit = limit
        self._file: int | None = None
        self._size = 0
        self._lost = 0
        self._pending = bytearray()

    def write(self, data: bytes) -> None:
        """Append data; never raises OSError."""
        if not self._pending:
            data = data[self._append(data) :]
            self._keep(data)
        else:
            self._keep(data)
            self.retry()
        if self._size > self._limit:
            with suppress(OSError):
                shorten(self.path, self._limit)
                self._size = self.path.stat().st_size

    @property
    def is_complete(self) -> bool:
        """Whether everything was written that was not left out for good."""
        return not self._pending

    @property
    def pending(self) -> bytes:
        """The end of the log, where it could not be written yet."""
        return bytes(self._pending)

    def retry(self) -> None:
        """Write what could not be written before, if there is space now."""
        if self._lost:
            note = f"\n[daskjob: {self._lost} bytes of this log could not be written]\n".encode()
            if self._append(note) < len(note):
                return
            self._lost = 0
        del self._pending[: self._append(bytes(self._pending))]

    def _keep(self, data: bytes) -> None:
        self._pending += data
        surplus = max(len(self._pending) - KEPT_BYTES, 0)
        del self._pending[:surplus]
        self._lost += surplus

    def _append(self, data: bytes) -> int:
        """Append what the disk takes; return the number of bytes."""
        written = 0
        try:
            if self._file is None:
                self._file = os.open(self.path, _FLAGS, 0o666)
                self._size = os.fstat(self._file).st_size
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError as error:
            message = not_written(f"the log {self.path}", self.path.parent.parent.parent, error)
            if message not in self.errors:
                self.errors.append(message)
        self._size += written
        return written

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY


class RunLogs:
    """The logs of a run's processes; what has no space while they run is written at the end."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._files: dict[Path, LogFile] = {}

    def log(self, path: Path) -> LogFile:
        """Return the log at a path, always the same one, and create its file."""
        log = self._files.setdefault(path, LogFile(path, self._limit))
        log.write(b"")
        return log

    def pending(self, path: Path) -> bytes:
        """Return the end of a log, where it could not be written yet."""
        return self._files[path].pending if path in self._files else b""

    @property
    def errors(self) -> list[str]:
        """Why something was left out, once for each cause, as sentences for the user."""
        return list(dict.fromkeys(error for log in self._files.values() for error in log.errors))

    def close(self) -> None:
        """Write the ends of logs that had no space, and close all files."""
        for log in self._files.values():
            if not log.is_complete:
                log.retry()
            log.close()


class PipedLog:
    """A log that processes write through a named pipe.

    Named, since the process that starts them opens it like a file. It is read until ``finish``.
    """

    def __init__(self, pipe: Path, log: LogFile) -> None:
        """Create the pipe and open it; ``OSError``: the file system has none."""
        self.pipe = pipe
        self.log = log
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe, 0o600)
        # For writing, too: so it never ends, and the loop does not wake up for an end.
        self._descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        asyncio.get_running_loop().add_reader(self._descriptor, self._copy)

    def _copy(self) -> bool:
        """Copy some of what there is; return whether there was any."""
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return False
        self.log.write(data)
        return True

    def finish(self) -> None:
        """Copy the rest, which processes that have ended left, and close everything."""
        while self._copy():
            continue
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        self.log.close()
        self.pipe.unlink(missing_ok=True)
