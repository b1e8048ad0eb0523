"""An event loop in virtual time, which advances only when all tasks wait: hours in milliseconds.

Nothing sleeps. Timers due at the same time fire in the order of their creation, so that a story is
the same in every run.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: More than any story takes: one that reaches it waits for something that never happens.
LONGEST_SECONDS = 30 * 86400.0


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock does not advance while any callback is ready."""

    def __init__(self) -> None:
        self.now = 1000.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self.now


class _Jumping(selectors.DefaultSelector):
    """A selector that advances the clock instead of waiting."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("deadlock: all tasks wait, and no timer is left")
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
