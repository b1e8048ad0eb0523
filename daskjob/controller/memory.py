"""Returns unused memory to the machine.

After thousands of objects have come and gone, caches still hold parsed objects that are not needed
any more, and the C library keeps freed memory for later. Both count towards a container's limit:
an operator of no clusters would use as much as one of hundreds.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

from daskjob.core.caching import forget

#: It takes some milliseconds, and memory that is returned must be allocated again later.
EVERY_SECONDS = 60.0


async def keep_memory_small() -> None:
    """Return free memory every minute, until cancelled."""
    trim = _trimmer()
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        give_back(trim)


def give_back(trim: Callable[[], object]) -> None:
    """Drop cached parsed objects, which are parsed again on demand, then return free pages.

    In this order: each cached object keeps a page in use.
    """
    forget()
    trim()


def _trimmer() -> Callable[[], object]:
    """Return glibc's ``malloc_trim``; other C libraries return memory by themselves."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return lambda: None
    return lambda: trim(ctypes.c_size_t(0))
