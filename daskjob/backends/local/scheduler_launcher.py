"""Runs a scheduler as ``dask scheduler`` does, but after signal N it exits with 128 + N.

Dask's command exits with 0 then, as after ``client.shutdown()``: a scheduler that was ended from
outside, with all of its tasks and results, would look like one that the script shut down.

Run by path, with the Python of the job, which may lack daskjob: ``python scheduler_launcher.py
OPTION...``. It imports the standard library and distributed only, and works from Python 3.9 on.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing.TYPE_CHECKING without the import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

#: As in the launcher of workers.
WITHOUT_CWD = "DASKJOB_WITHOUT_CWD"


def launch(options: Sequence[str]) -> None:
    """Run ``dask scheduler`` with these options; exit when the scheduler is closed."""
    sys.argv = ["dask scheduler", *options]
    os.environ.pop(WITHOUT_CWD, None)
    from distributed.cli import dask_scheduler

    ending = Ending(dask_scheduler.wait_for_signals)
    dask_scheduler.wait_for_signals = ending.wait_for_signals
    try:
        dask_scheduler.main()
    except (Exception, SystemExit):
        # A scheduler that is closed while it starts raises an error.
        if not ending.number:
            raise
    if ending.number:
        sys.exit(128 + ending.number)


class Ending:
    """Records the signal that asked this process to end."""

    def __init__(self, wait: Any):
        self._wait = wait
        self.number = 0

    async def wait_for_signals(self) -> int:
        """Wait for SIGINT or SIGTERM, as distributed does."""
        self.number = int(await self._wait())
        return self.number


def set_path() -> None:
    """Replace the folder of this file on the path by the working directory, as with -m.

    The servers of a script have neither.
    """
    if not getattr(sys.flags, "safe_path", False):
        sys.path[:1] = [] if os.environ.get(WITHOUT_CWD) else [os.getcwd()]


if __name__ == "__main__":
    set_path()
    launch(sys.argv[1:])
