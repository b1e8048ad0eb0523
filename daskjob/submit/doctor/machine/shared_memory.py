"""``/dev/shm``, which libraries such as multiprocessing use; containers often have 64 MiB."""

from __future__ import annotations

import os
from pathlib import Path

from daskjob.core.quantity import format_bytes
from daskjob.submit.doctor.finding import Finding, ok, skipped, warning

CHECK = "shared memory"
LITTLE_BYTES = 32 * 2**20


def shared_memory(folder: Path = Path("/dev/shm")) -> Finding:
    """Check the space of shared memory."""
    if not folder.is_dir():
        return skipped(CHECK, f"this machine has no {folder}")
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    text = f"{folder}, {format_bytes(free)} free"
    if free < LITTLE_BYTES or not os.access(folder, os.W_OK):
        return warning(CHECK, text, "in a container: docker run --shm-size 1g")
    return ok(CHECK, text)
