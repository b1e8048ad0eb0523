"""When the lines of logs arrived: to merge those of workers by time, and to begin at a time.

Most lines that scripts and tasks print carry no time. While a job runs, the sizes of its logs are
recorded whenever they change: `seconds size log`, one per line.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

#: How often sizes are looked at: how exactly lines without a time are merged.
SAMPLE_SECONDS = 0.5
#: The largest record; later lines have the time of its last entry.
RECORD_BYTES = 4 * 1024 * 1024


class ArrivalRecorder:
    """Records the sizes of logs; a full disk costs exactness only."""

    def __init__(self, record: Path, logs: Callable[[], Iterable[Path]]) -> None:
        self._record = record
        self._logs = logs
        self._sizes: dict[Path, int] = {}
        self._written = 0

    async def run(self) -> None:
        """Look at the sizes until cancelled."""
        while self._written < RECORD_BYTES:
            self.look()
            await asyncio.sleep(SAMPLE_SECONDS)

    def look(self) -> None:
        """Record what has changed; also once at the end, or the last lines have no time."""
        lines = []
        for log in self._logs():
            with suppress(OSError):
                size = log.stat().st_size
                if size != self._sizes.get(log, 0):
                    self._sizes[log] = size
                    lines.append(f"{time.time():.2f} {size} {log.stem}\n")
        if lines:
            with suppress(OSError), self._record.open("a") as file:
                self._written += file.write("".join(lines))


class Arrivals:
    """The record of a job that runs or ran."""

    def __init__(self, record: Path) -> None:
        self._sizes: dict[str, list[int]] = {}
        self._times: dict[str, list[float]] = {}
        try:
            lines = record.read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        for line in lines:
            with suppress(ValueError):
                seconds, size, log = line.split(" ", 2)
                self._add(log, int(size), float(seconds))

    def _add(self, log: str, size: int, seconds: float) -> None:
        sizes, times = self._sizes.setdefault(log, []), self._times.setdefault(log, [])
        if sizes and size < sizes[-1]:
            # The log was shortened: earlier offsets are no longer those of the same lines.
            sizes.clear()
            times.clear()
        sizes.append(size)
        times.append(seconds)

    def at(self, log: str, offset: int) -> float:
        """Return when the byte at an offset had been written; 0.0: unknown."""
        times = self._times.get(log)
        if not times:
            return 0.0
        return times[min(bisect_left(self._sizes[log], offset + 1), len(times) - 1)]

    def offset_since(self, log: str, moment: float) -> int:
        """Return where the bytes that were written from a moment on begin; 0 if unknown."""
        times = self._times.get(log)
        if not times:
            return 0
        first = bisect_left(times, moment)
        return self._sizes[log][first - 1] if first else 0
