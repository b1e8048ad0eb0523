"""What tasks print and log, as lines with the name of their worker.

Read from the workers' logs. As with a LocalCluster, records of Dask itself appear from WARNING on;
below that they are about the cluster's machinery.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

#: The most that is read of a log at a time.
READ_BYTES = 256 * 1024
#: The longest line that is kept until its newline comes.
OPEN_LINE_BYTES = 64 * 1024

_MACHINERY = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ - (?:distributed|bokeh|tornado)[\w.]* - (?:INFO|DEBUG) - "
)
_COLOUR = re.compile(r"(\x1b\[[0-9;:]*m)")


class WorkerLines:
    """The new lines of all workers of a job."""

    def __init__(self, job: str, logs: Callable[[], Iterable[Path]]) -> None:
        self._job = job
        self._logs = logs
        self._offsets: dict[Path, int] = {}
        self._open: dict[Path, bytes] = {}

    def read(self, *, to_the_end: bool = False) -> Iterator[str]:
        """Yield the lines since the last call; ``to_the_end``: also those without a newline."""
        for path in sorted(self._logs()):
            lines = (self._open.pop(path, b"") + self._new(path)).split(b"\n")
            if not to_the_end and len(lines[-1]) < OPEN_LINE_BYTES:
                self._open[path] = lines.pop()
            elif not lines[-1]:
                lines.pop()
            name = short_name(path.stem, self._job)
            for line in lines:
                text = line.decode(errors="replace")
                if not _MACHINERY.match(text):
                    yield f"[{name}] {shown(text)}"

    def skip(self) -> None:
        """Leave out what was written since the last call: how workers end."""
        self._open.clear()
        for path in self._logs():
            with suppress(OSError):
                self._offsets[path] = path.stat().st_size

    def _new(self, path: Path) -> bytes:
        offset = self._offsets.get(path, 0)
        try:
            with path.open("rb") as log:
                if log.seek(0, 2) < offset:
                    # It was shortened; all but the last moments of what is left was shown.
                    offset = log.tell()
                log.seek(offset)
                data = log.read(READ_BYTES)
        except OSError:
            return b""
        self._offsets[path] = offset + len(data)
        return data


def short_name(pod: str, job: str) -> str:
    """Return a worker's name without the job's, and without that of the usual group."""
    return pod.removeprefix(f"{job}-").removeprefix("default-")


def shown(line: str) -> str:
    """Return a line as a terminal would show it in the end, with its colours and nothing else."""
    line = line.rstrip("\r").rpartition("\r")[2]
    parts = _COLOUR.split(line.expandtabs())
    plain = ("".join(c for c in part if c.isprintable()) for part in parts[::2])
    colours = [*parts[1::2], "\x1b[0m" if len(parts) > 1 else ""]
    return "".join(text + colour for text, colour in zip(plain, colours, strict=True))
