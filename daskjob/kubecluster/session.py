"""What a ``KubeCluster`` holds while it is open: its start fills it, its end empties it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from daskjob.kubecluster import tasks
from daskjob.kubecluster.arguments import Arguments
from daskjob.kubecluster.creation import Creation
from daskjob.kubecluster.lease import Lease
from daskjob.kubecluster.scheduler_connection import SchedulerConnection
from daskjob.kubecluster.watch import ClusterWatch
from daskjob.submit.clusters.client import AsyncClusterClient


@dataclass(slots=True)
class Session:
    """The connections, watches and tasks of one cluster."""

    arguments: Arguments
    clients: AsyncClusterClient
    creation: Creation
    connection: SchedulerConnection
    log: Callable[[str], None]
    #: The cluster as it is; ``None`` until it was created or found.
    watch: ClusterWatch | None = None
    lease: Lease | None = None
    _tasks: list[asyncio.Future[Any]] = field(default_factory=list)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """Run something until the end of the session."""
        task = asyncio.ensure_future(work)
        self._tasks.append(task)
        return task

    def release_current_task(self) -> None:
        """Let the current task survive the end of the session, which it waits for."""
        self._tasks = [task for task in self._tasks if task is not asyncio.current_task()]

    async def end_tasks(self) -> None:
        """End the tasks."""
        await tasks.end(self._tasks)
        self._tasks = []
