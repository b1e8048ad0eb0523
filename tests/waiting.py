"""Waits of tests: bounded, and a timeout shows what was seen last."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

#: How long anything may take before a test gives up: machines of CI are shared and slow.
PATIENCE_SECONDS = 60.0
#: What a failure shows: a text, or what this returns then. Without it: the last value.
Shows = str | Callable[[], object] | None


async def until(
    true: Callable[[], object],
    seconds: float = PATIENCE_SECONDS,
    shows: Shows = None,
    *,
    pause: float = 0.01,
) -> Any:
    """Wait in the test's event loop, by its clock, until it is true; return the value.

    What is awaitable is awaited.
    """
    clock = asyncio.get_running_loop().time
    give_up = clock() + seconds
    while True:
        value = true()
        if inspect.isawaitable(value):
            # One that never ends is bounded too.
            async with asyncio.timeout_at(give_up):
                value = await value
        if value:
            return value
        assert clock() < give_up, _timed_out(seconds, shows, value)
        await asyncio.sleep(pause)


def wait_until(
    true: Callable[[], T],
    seconds: float = PATIENCE_SECONDS,
    shows: Shows = None,
    *,
    pause: float = 0.02,
) -> T:
    """Block until it is true; return the value."""
    give_up = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < give_up, _timed_out(seconds, shows, value)
        time.sleep(pause)
    return value


def _timed_out(seconds: float, shows: Shows, value: object) -> str:
    last = shows() if callable(shows) else value if shows is None else shows
    return f"still not so after {seconds:g} s: {last if isinstance(last, str) else repr(last)}"
