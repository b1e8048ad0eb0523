"""Workers that are renewed while they register are not lost, however slow the machine is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.command import Daskjob

SCRIPT = """\
import os
from distributed import Client

os.environ["NEW"] = "1"
client = Client(timeout=1)
print(len(client.ncores()), client.submit(os.getenv, "NEW").result())
"""

#: A run that has not noticed the first answer of its scheduler.
UNSEEN = """\
asked = backend.LocalBackend._ask_scheduler
until = time.monotonic() + 4

async def late(self):
    if time.monotonic() < until:
        return 0.1
    return await asked(self)

backend.LocalBackend._ask_scheduler = late
"""
#: Workers that register only after the run has looked, and have no time to announce their end.
UNKNOWN = """\
from daskjob.core.dask import DaskState
state = backend.whole_state

async def before(get, path):
    found = await state(get, path)
    inside = sys._getframe(1).f_code.co_name == "_free"
    return replace(found, workers=()) if inside else found

backend.whole_state = before
"""
NO_TIME = "backend.LEAVE_SECONDS = 0\n"

PROGRAM = """\
import asyncio, runpy, sys, time
from dataclasses import replace
from daskjob.backends.local import backend

reshape, ask_state = backend.LocalBackend.reshape, backend.whole_state

async def once_they_are_there(self, *given, **more):
    registered = 0
    while registered < 2:
        await asyncio.sleep(0.01)
        try:
            registered = len((await ask_state(self._agent(self._scheduler()).get, "state")).workers)
        except (backend.NoAnswer, AttributeError):
            pass  # there is no scheduler yet
    return await reshape(self, *given, **more)

backend.LocalBackend.reshape = once_they_are_there
{fault}
sys.argv = ["daskjob", "run", "-w", "2", "-t", "1", {script!r}]
runpy.run_module("daskjob", run_name="__main__")
"""


@pytest.mark.parametrize("fault", [UNSEEN, UNKNOWN + NO_TIME, UNSEEN + UNKNOWN + NO_TIME])
def test_renewed_workers_are_not_lost(daskjob: Daskjob, fault: str) -> None:
    script = daskjob.script(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(fault=fault, script=str(script))],
        env=daskjob.environment,
        cwd=daskjob.work,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "2 1\n"), done.stderr
    assert "lost" not in done.stderr
