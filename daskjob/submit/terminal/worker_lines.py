"""What tasks print and log, as lines with the name of their worker.

Read from the workers' logs. As with a LocalCluster, records of Dask itself appear from WARNING on;
below that they are about the cluster's machinery.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from daskjob.submit.local_run import ForegroundJob
from daskjob.submit.worker_logs import NewLines
from daskjob.submit.worker_names import short_name

_MACHINERY = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ - (?:distributed|bokeh|tornado)[\w.]* - (?:INFO|DEBUG) - "
)
_COLOUR = re.compile(r"(\x1b\[[0-9;:]*m)")


class WorkerLines:
    """The new lines of all workers of a job."""

    def __init__(self, job: ForegroundJob) -> None:
        self._run = job
        self._job = job.name
        self._new = NewLines(job.folder)

    def read(self, *, to_the_end: bool = False) -> Iterator[str]:
        """Yield the lines since the last call; ``to_the_end``: also those without a newline.

        None once the run is being stopped: how workers lose their scheduler is no news.
        """
        if self._run.is_stopping:
            self.skip()
            return
        for pod, line in self._new.since(to_the_end=to_the_end):
            text = line.decode(errors="replace")
            if not _MACHINERY.match(text):
                yield f"[{short_name(pod, self._job)}] {shown(text)}"

    def skip(self) -> None:
        """Leave out what was written since the last call: how workers end."""
        self._new.skip()


def shown(line: str) -> str:
    """Return a line as a terminal would show it in the end, with its colours and nothing else."""
    line = line.rstrip("\r").rpartition("\r")[2]
    parts = _COLOUR.split(line.expandtabs())
    plain = ("".join(c for c in part if c.isprintable()) for part in parts[::2])
    colours = [*parts[1::2], "\x1b[0m" if len(parts) > 1 else ""]
    return "".join(text + colour for text, colour in zip(plain, colours, strict=True))
