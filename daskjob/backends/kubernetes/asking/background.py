"""What goes on beside the passes, which none of them waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

#: Lets something go on beside the passes; it ends with the backend.
Background = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]


class BackgroundTasks:
    """All that is under way; it does not fail."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Let something begin."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def end(self) -> None:
        """Cancel all, and return when they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
