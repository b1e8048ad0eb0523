"""The folder in which jobs of this machine are kept."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from daskjob.core.quantity import format_bytes
from daskjob.submit.doctor.finding import Finding, failed, ok, warning

CHECK = "state directory"
#: Less may be too little for the logs of a few runs.
LITTLE_BYTES = 200 * 2**20
_FIX = "set DASKJOB_STATE_DIR to a folder of yours"


def state_folder(folder: Path) -> Finding:
    """Check that a run can write its state."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        if existing == folder:
            with tempfile.NamedTemporaryFile(dir=folder):
                pass
        elif not os.access(existing, os.W_OK | os.X_OK):
            return failed(CHECK, f"{folder} cannot be created: {existing} is read-only", _FIX)
        elif not existing.is_dir():
            return failed(CHECK, f"{folder} cannot be created: {existing} is a file", _FIX)
    except OSError as error:
        return failed(CHECK, f"{folder} cannot be written: {error.strerror}", _FIX)
    space = os.statvfs(existing)
    free = space.f_bavail * space.f_frsize
    if free < LITTLE_BYTES:
        text = f"{folder} has only {format_bytes(free)} free"
        return warning(CHECK, text, "free some space, or " + _FIX)
    return ok(CHECK, f"{folder}, {format_bytes(free)} free")
