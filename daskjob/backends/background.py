"""Questions and writes beside the passes; no pass waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

#: Starts work beside the passes; it ends with the backend.
Background = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]


class BackgroundTasks:
    """All tasks beside the passes; their work handles its own errors."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Start work as a task."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def end(self) -> None:
        """Cancel all tasks, and return when they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
