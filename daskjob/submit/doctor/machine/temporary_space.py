"""Where workers spill data and put temporary files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from daskjob.core.quantity import format_bytes
from daskjob.submit.doctor.finding import Finding, failed, ok, warning

CHECK = "temporary space"
LITTLE_BYTES = 2**30
_FIX = "set TMPDIR to a folder on a larger disk"


def temporary_space() -> Finding:
    """Check the folder of temporary files."""
    try:
        folder = Path(tempfile.gettempdir())
    except OSError as error:
        return failed(CHECK, f"no folder for temporary files can be written: {error}", _FIX)
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    if free < LITTLE_BYTES:
        return warning(CHECK, f"{folder} has only {format_bytes(free)} for spilled data", _FIX)
    return ok(CHECK, f"{folder}, {format_bytes(free)} free")
