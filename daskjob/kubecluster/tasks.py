"""Tasks that end together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any


async def end(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel all tasks, and wait for their end, whatever it is."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, Exception):
            await task
