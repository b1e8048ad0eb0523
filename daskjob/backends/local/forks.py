"""Which processes of a run are forked from a Python that has imported Dask, instead of executed.

Those of schedulers and of workers with nannies. A fork has what its parent imported, so it must be
what a new Python would be: same program, same folder, same environment but for variables that no
import reads. All others are executed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from daskjob.backends.local.process_table import MARKER
from daskjob.backends.local.processes import Command
from daskjob.backends.local.translate import (
    LAUNCHER,
    NANNY_ENVIRONMENT,
    SCHEDULER_LAUNCHER,
    ContainerProcess,
)
from daskjob.core.names import ENV_WORKER_NAME

#: Run by path, with the Python of the scheduler and the workers.
_PROGRAM = Path(__file__).with_name("fork_parent.py")
#: The fork parent's id; no pod has it.
FORK_PARENT = "fork-parent"
#: Variables that each process has of its own, and that no import reads: Dask's configuration is
#: read anew in the forked process.
_OWN_PREFIX = "DASKJOB_AGENT"
_OWN = frozenset(
    {
        MARKER,
        "TMPDIR",
        ENV_WORKER_NAME,
        "DASK_SCHEDULER_ADDRESS",
        "DASK_DISTRIBUTED__SCHEDULER__PRELOAD",
        "DASK_DISTRIBUTED__SCHEDULER__PRELOAD_ARGV",
    }
)
#: Space for the markers and the titles of forked processes in what the system shows of them.
_MARKER_ROOM, _TITLE_ROOM = 160, 400


class Forks:
    """The fork parent of a run, and what is forked from it."""

    def __init__(self, python: str, *, enabled: bool = sys.platform == "linux") -> None:
        self._python = python
        self._enabled = enabled
        self._cwd = Path()
        self._environment: Mapping[str, str] | None = None

    def parent_for(self, process: ContainerProcess) -> Command | None:
        """Return the fork parent, to be started before the first process that it can fork."""
        if not self._enabled or self._environment is not None or not self._kind(process):
            return None
        self._cwd, self._environment = process.cwd, _shared(process.env)
        return Command(
            id=FORK_PARENT.ljust(_MARKER_ROOM, "."),
            argv=(self._python, str(_PROGRAM), "." * _TITLE_ROOM),
            env=self._environment,
            cwd=process.cwd,
            log=Path(os.devnull),
            forks=True,
        )

    def arguments(self, process: ContainerProcess) -> tuple[str, ...]:
        """Return what the fork parent runs in place of a process; empty: it cannot."""
        same = process.cwd == self._cwd and _shared(process.env) == self._environment
        return self._kind(process) if same else ()

    def _kind(self, process: ContainerProcess) -> tuple[str, ...]:
        match process.argv:
            case (self._python, program, *arguments) if program == str(SCHEDULER_LAUNCHER):
                return ("scheduler", *arguments)
            case (self._python, program, *arguments) if program == str(LAUNCHER):
                return ("worker", *arguments)
        return ()


def _shared(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that all forks have, as nannies would complete it."""
    shared = {
        name: value
        for name, value in environment.items()
        if name not in _OWN and not name.startswith(_OWN_PREFIX)
    }
    return {**NANNY_ENVIRONMENT, **shared}
