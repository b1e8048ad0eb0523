"""The exception that ended a script, as its own process recorded it (``in_script/uncaught.py``).

The end of an output has more: what exit handlers, destructors and libraries print after it.
"""

from __future__ import annotations

import json
from pathlib import Path

from daskjob.core.diagnose import EXCEPTION_LINE
from daskjob.core.manifests import mapping
from daskjob.core.recorded_exception import recorded_line

#: The variable that names the file of the record.
VARIABLE = "DASKJOB_UNCAUGHT"
#: The longest text, with some room: a script may write anything there.
LIMIT_BYTES = 1024 * 1024


def uncaught_file(scratch: Path, attempt: str) -> Path:
    """Return the file of the record of an attempt."""
    return scratch / f"uncaught-{attempt}.txt"


def uncaught(file: Path, pid: int) -> str:
    """Return the exception that a process recorded, as a message; empty if it did not.

    A script may be started by a shell; then that is the process of the container.
    """
    try:
        with file.open("rb") as record:
            first, _, text = record.read(LIMIT_BYTES).partition(b"\n")
        found = mapping(json.loads(text)) if first == str(pid).encode() else {}
    except (OSError, ValueError, RecursionError):
        return ""
    return f"{EXCEPTION_LINE}{recorded_line(found)}" if found else ""
