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


async def record_arrivals(record: Path, logs: Callable[[], Iterable[Path]]) -> None:
    """Record the sizes of logs until cancelled; a full disk costs exactness only."""
    sizes: dict[Path, int] = {}
    written = 0
    while written < RECORD_BYTES:
        lines = []
        for log in logs():
            with suppress(OSError):
                size = log.stat().st_size
                if size != sizes.get(log, 0):
                    sizes[log] = size
                    lines.append(f"{time.time():.2f} {size} {log.stem}\n")
        if lines:
            with suppress(OSError), record.open("a") as file:
                written += file.write("".join(lines))
        await asyncio.sleep(SAMPLE_SECONDS)


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
