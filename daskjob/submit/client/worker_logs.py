"""The logs of all workers of a job as one: by time, each line with a name.

New lines are polled, since one open request for each of hundreds of workers would be too many.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import datetime

from daskjob.core.errors import ApiError, NotFound
from daskjob.core.manifests import ObjectRef
from daskjob.kube.api import Api
from daskjob.kube.errors import BadRequest
from daskjob.kube.log_position import time_of
from daskjob.kube.logs import TRANSIENT, ContainerLog, LogWish
from daskjob.submit.jobs import LogChunk
from daskjob.submit.worker_names import short_name

#: How many logs are read at a time.
AT_ONCE = 16

#: Finds the workers' pods, each with its main container.
FindWorkers = Callable[[], Awaitable[Sequence[tuple[ObjectRef, str]]]]


class WorkerLogs:
    """Reads the logs of all workers; later ones are included once they have started."""

    def __init__(
        self,
        api: Api,
        cluster: str,
        find: FindWorkers,
        *,
        tail: int | None,
        since: datetime | None = None,
    ) -> None:
        self._api = api
        self._cluster = cluster
        self._find = find
        self._tail = tail
        self._since = since
        self._logs: dict[str, ContainerLog] = {}
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._begun = False
        #: Why a log was not read to its end in the last call; the next call goes on there.
        self.failure: ApiError | None = None

    async def new_lines(self) -> list[LogChunk]:
        """Return the lines since the last call, by time; at first, the last ones of all."""
        workers = await self._find()
        self.failure = None
        read = await asyncio.gather(*(self._read(*worker) for worker in workers))
        lines = list(heapq.merge(*read, key=lambda line: time_of(line[1])))
        if not self._begun and self._tail is not None:
            lines = lines[-self._tail :] if self._tail else []
        self._begun = True
        return [self._chunk(pod, line) for pod, line in lines]

    async def _read(self, pod: ObjectRef, container: str) -> list[tuple[str, bytes]]:
        # Of a worker that has started since, every line is new.
        tail = None if self._begun else self._tail
        wish = LogWish(pod, container, tail=tail, since=self._since)
        log = self._logs.setdefault(pod.uid, ContainerLog(self._api, wish, stamps=True))
        lines: list[tuple[str, bytes]] = []
        try:
            async with self._gate, aclosing(log.lines()) as found:
                async for data in found:
                    lines += [(pod.name, line) for line in data.split(b"\n") if line]
        except (NotFound, BadRequest):
            # It is gone, or has not started.
            pass
        except TRANSIENT as error:
            # The lines before are read, and are not sent again.
            self.failure = error
        return lines

    def _chunk(self, pod: str, line: bytes) -> LogChunk:
        name = short_name(pod, self._cluster).encode()
        return LogChunk(pod, b"[" + name + b"] " + line.partition(b" ")[2] + b"\n")
