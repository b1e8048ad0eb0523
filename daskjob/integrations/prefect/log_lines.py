"""The lines of a job's log, for a run's log: whole lines, and not more than a server takes."""

from __future__ import annotations

import time
from collections.abc import Callable

from daskjob.submit.jobs import LogChunk

#: Lines of a second that are passed on; Prefect stores each in its database.
LINES_PER_SECOND = 200


class LogLines:
    """Passes the lines of a log on."""

    def __init__(
        self,
        write: Callable[[str], object],
        *,
        limit: int = LINES_PER_SECOND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._limit = limit
        self._clock = clock
        self._rest: dict[str, bytes] = {}
        self._second = 0
        self._written = 0
        self._skipped = 0

    def add(self, chunk: LogChunk) -> None:
        """Pass on the lines that are complete with this piece."""
        *lines, rest = (self._rest.get(chunk.pod, b"") + chunk.data).split(b"\n")
        self._rest[chunk.pod] = rest
        for line in lines:
            self._pass_on(line)

    def end(self) -> None:
        """Pass on what did not end with a line end."""
        for line in filter(None, self._rest.values()):
            self._pass_on(line)
        self._rest.clear()
        self._report_skipped()

    def _pass_on(self, line: bytes) -> None:
        second = int(self._clock())
        if second != self._second:
            self._report_skipped()
            self._second, self._written = second, 0
        if self._written >= self._limit:
            self._skipped += 1
            return
        self._written += 1
        self._write(line.decode(errors="replace").rstrip("\r"))

    def _report_skipped(self) -> None:
        if self._skipped:
            self._write(f"… {self._skipped} lines skipped: daskjob logs has them")
            self._skipped = 0
