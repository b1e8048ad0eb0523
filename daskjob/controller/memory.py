"""Memory that nobody uses any more goes back to the machine.

After thousands of objects have come and gone, readings of them are kept that nobody asks for again,
and the C library keeps what they took, for later. That memory counts for a container's limit, and
its owner asks why an operator of no clusters has as much as one of hundreds.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

from daskjob.core.caching import forget

#: It takes some milliseconds, and what is given back has to be had again.
EVERY_SECONDS = 60.0


async def kept_small() -> None:
    """Give back what is free, every minute, for ever."""
    trim = _trimmer()
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        give_back(trim)


def give_back(trim: Callable[[], object]) -> None:
    """Let go of readings of objects, which are made anew where they are wanted, and of free pages.

    The readings first: each is on a page that is not free otherwise.
    """
    forget()
    trim()


def _trimmer() -> Callable[[], object]:
    """Return glibc's ``malloc_trim``; other C libraries have none, and give back by themselves."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return lambda: None
    return lambda: trim(ctypes.c_size_t(0))
