"""The end of a process with a client that was never closed."""

from __future__ import annotations

import subprocess
import sys

import pytest

FINALIZER = "weakref.finalize(Thing.kept, print)"
IMPORT = "from daskjob.submit import sync"
PROGRAM = """
import weakref

class Thing:
    pass

async def nothing():
    pass

Thing.kept = Thing()
{first}
{second}
sync.run(nothing, name="JobClient.list")
weakref.finalize(Thing.kept, sync.start, nothing)
"""


@pytest.mark.parametrize(
    ("first", "second"),
    # Python calls what is registered first at last: the finalizers of other libraries, or ours.
    [(FINALIZER, IMPORT), (IMPORT, FINALIZER), (IMPORT, "")],
)
def test_a_client_that_was_not_closed_ends_with_the_process_in_silence(
    first: str, second: str
) -> None:
    program = PROGRAM.format(first=first, second=second)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
