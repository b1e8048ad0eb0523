"""What a job carries of a lock, with the numbers and what to do beyond them."""

from __future__ import annotations

from collections.abc import Sequence

from daskjob.submit.environment.lock_lines import Line
from daskjob.submit.environment.wanted import UnfitEnvironment

#: As the CustomResourceDefinition has them.
MOST_LINES = 500
LONGEST_LINE = 8192
MOST_CHARACTERS = 512 * 1024


def check_limits(lines: Sequence[Line], subject: str) -> None:
    """Reject an environment that is too large for a job.

    Raises
    ------
    UnfitEnvironment
        It is.
    """
    if len(lines) > MOST_LINES:
        raise UnfitEnvironment(
            f"{subject} needs {len(lines)} packages, and a job carries up to {MOST_LINES}: put "
            "them into an image (--image IMAGE)"
        )
    total = sum(len(str(line)) for line in lines)
    if total > MOST_CHARACTERS:
        raise UnfitEnvironment(
            f"the lock of {subject} has {total // 1024} KiB, and a job carries up to "
            f"{MOST_CHARACTERS // 1024} KiB: put the packages into an image (--image IMAGE)"
        )
