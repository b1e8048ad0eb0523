"""A disk, or a user's share of it, that is full."""

from __future__ import annotations

import errno
from pathlib import Path

#: Errors of a disk, or a user's share of it, that is full.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def not_written(what: str, root: Path, error: OSError) -> str:
    """Return the message for what could not be saved: the same for all, if the disk is full."""
    if error.errno in NO_SPACE:
        return (
            f"no space is left in the state folder {root}: the job continues, but its logs and "
            "events are incomplete"
        )
    return f"{what} cannot be written: {error.strerror}"
