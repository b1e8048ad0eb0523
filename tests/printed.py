"""What a script printed, in an output that libraries write to as well."""

from __future__ import annotations

#: The first line of a script whose whole output is compared: asyncio reports nothing at its exit.
QUIET = "import logging; logging.getLogger('asyncio').disabled = True"


def assert_printed(text: str, *lines: str) -> None:
    """Check that these lines are in an output in this order, each once; show all of it if not.

    The log of a pod has both streams of its program, and libraries print at its exit, too: where
    the machine is busy, the thread of Dask's client may end before an exception of one of its
    futures was retrieved, which asyncio then reports below the script's last line.
    """
    assert [line for line in text.splitlines() if line in lines] == list(lines), text
