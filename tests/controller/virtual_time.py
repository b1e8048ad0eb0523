"""A loop in which time passes only when everybody waits for it: hours of story in milliseconds.

Nothing sleeps. Whatever is due at one moment happens in the order in which it was asked for, so
that a story is the same in every run.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: More time than any story needs: one that gets there waits for something that never happens.
LONGEST_SECONDS = 30 * 86400.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock stands still while there is anything to do."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self.now


class _Jumping(selectors.DefaultSelector):
    """Instead of waiting it lets the time pass."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("everybody waits, and nothing will ever happen")
        self._loop.now += timeout
        assert self._loop.now < LONGEST_SECONDS, "this story does not end"
        return super().select(0)


def run(story: Coroutine[Any, Any, T]) -> T:
    """Run a story to its end."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story)


def clock() -> float:
    """Return the time of the running story, in seconds."""
    return asyncio.get_running_loop().time()
