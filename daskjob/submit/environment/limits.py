"""What a job carries of a lock, with the numbers and what to do beyond them."""

from __future__ import annotations

from collections.abc import Sequence

from daskjob.core.spec.environment import (
    LONGEST_REQUIREMENT,
    MOST_REQUIREMENTS,
    REQUIREMENTS_LIMIT,
)
from daskjob.submit.environment.lock_lines import Line
from daskjob.submit.environment.wanted import UnfitEnvironment

_INSTEAD = "put the packages into an image (--image IMAGE)"


def check_limits(lines: Sequence[Line], subject: str) -> None:
    """Reject an environment that is too large for a job.

    Raises
    ------
    UnfitEnvironment
        It is.
    """
    if len(lines) > MOST_REQUIREMENTS:
        raise UnfitEnvironment(
            f"{subject} needs {len(lines)} packages, and a job carries up to {MOST_REQUIREMENTS}: "
            f"{_INSTEAD}"
        )
    for line in lines:
        if len(str(line)) > LONGEST_REQUIREMENT:
            raise UnfitEnvironment(
                f"{line.name} has {len(line.hashes)} hashes, {len(str(line))} characters, and a "
                f"job carries up to {LONGEST_REQUIREMENT} of one package: {_INSTEAD}, or name "
                "fewer hashes in --requirements FILE"
            )
    total = sum(len(str(line)) for line in lines)
    if total > REQUIREMENTS_LIMIT:
        raise UnfitEnvironment(
            f"the lock of {subject} has {total // 1024} KiB, and a job carries up to "
            f"{REQUIREMENTS_LIMIT // 1024} KiB: {_INSTEAD}"
        )
