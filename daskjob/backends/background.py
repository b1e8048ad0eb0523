"""Background tasks that no pass waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

#: Starts a background task, which ends with the backend.
Background = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]


class BackgroundTasks:
    """The running background tasks, which must not fail."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Start a task."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def end(self) -> None:
        """Cancel all tasks and wait for their end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
