"""What the workers of a run did over time: samples of a scheduler's answers.

One line of JSON per sample. While workers come and go each change is recorded; otherwise samples
become rarer the longer the run takes, so that a run of a week has a few thousand.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from daskjob.core.dask import DaskState
from daskjob.core.manifests import Manifest

#: The samples of a run of this length are taken whenever its scheduler answers; later ones every
#: ``RARER`` of its age.
DENSE_SECONDS = 300.0
RARER = 1 / 300
#: The largest file; nothing is recorded after that.
LIMIT_BYTES = 8 * 1024 * 1024
#: The columns of a sample; ``in`` and ``out`` are the workers that came and went since the last.
COLUMNS = ("time", "attempt", "workers", "memory", "total", "done", "processing", "erred")


class HistoryFile:
    """Writes the history of a run; a full disk costs samples only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began = 0.0
        self._last = 0.0
        self._attempt = 0
        self._here: set[str] = set()
        self._written = 0

    def see(self, now: datetime, attempt: int, state: DaskState) -> None:
        """Record a scheduler's answer, if it is time or if its workers are others."""
        at = now.timestamp()
        self._began = self._began or at
        if attempt != self._attempt:
            self._attempt, self._here = attempt, set()
        here = {worker.name for worker in state.workers} if state.is_whole else self._here
        rare = max(0.0, at - self._began - DENSE_SECONDS) * RARER
        if here == self._here and at - self._last < rare:
            return
        tasks, memory = state.tasks, sum(worker.memory for worker in state.workers)
        numbers = (tasks.total, tasks.done, tasks.processing, tasks.erred)
        row = [round(at, 1), attempt, max(len(state.workers), state.workers_total), memory]
        sample: Manifest = {"row": [*row, *numbers]}
        sample |= {"in": sorted(here - self._here)} if here - self._here else {}
        sample |= {"out": sorted(self._here - here)} if self._here - here else {}
        self._here, self._last = here, at
        self._write(json.dumps(sample, separators=(",", ":")) + "\n")

    def _write(self, line: str) -> None:
        if self._written > LIMIT_BYTES:
            return
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            self._written += file.write(line)


@dataclass
class _Stay:
    """A worker that is there, or was."""

    name: str
    attempt: int
    begin: float
    end: float | None = None


def read_history(path: Path) -> Manifest | None:
    """Return the samples, and when each worker was there; ``None``: nothing was recorded.

    A worker's end is ``null`` if it was there in the last sample of its attempt.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    rows: list[list[float]] = []
    stays: list[_Stay] = []
    for sample in _samples(lines):
        row = sample["row"]
        at, attempt = float(row[0]), int(row[1])
        rows.append(row)
        gone = set(sample.get("out") or ())
        for stay in stays:
            if stay.end is None and stay.attempt == attempt and stay.name in gone:
                stay.end = at
        stays += [_Stay(str(name), attempt, at) for name in sample.get("in") or ()]
    if not rows:
        return None
    return {
        "columns": list(COLUMNS),
        "rows": rows,
        "workers": {
            "columns": ["name", "attempt", "begin", "end"],
            "rows": [[stay.name, stay.attempt, stay.begin, stay.end] for stay in stays],
        },
    }


def _samples(lines: Iterable[str]) -> Iterable[Manifest]:
    """Yield the samples that were written whole."""
    for line in lines:
        with suppress(ValueError, TypeError):
            sample = json.loads(line)
            row = sample.get("row") if isinstance(sample, dict) else None
            if isinstance(row, list) and len(row) == len(COLUMNS):
                [float(value) for value in row]
                yield sample
