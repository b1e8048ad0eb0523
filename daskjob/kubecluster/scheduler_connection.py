"""The connection to the scheduler: the way there, kept open, and what is asked on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from distributed.core import rpc
from distributed.objects import SchedulerInfo
from distributed.security import Security

from daskjob.kube.api import Api
from daskjob.kubecluster import tasks
from daskjob.kubecluster.errors import NoConnection
from daskjob.kubecluster.ways import Say, Way, Wishes, connect
from daskjob.submit.clusters.cluster import Cluster

#: Between tries to reach a scheduler that is being replaced, and how long one may take.
AGAIN_SECONDS = 1.0
SUBSCRIBE_SECONDS = 20.0


class SchedulerConnection:
    """The way to the scheduler of one cluster."""

    def __init__(self, say: Say) -> None:
        #: ``None`` before the start, and after the end.
        self.way: Way | None = None
        self._say = say
        self._keeper: asyncio.Task[None] | None = None

    async def open(self, api: Api, cluster: Cluster, wishes: Wishes) -> Way:
        """Find the way; a task keeps the forwards until it is cancelled.

        So they also end in order where a program's loop ends before its cluster is closed.
        """
        found: asyncio.Future[Way] = asyncio.get_running_loop().create_future()

        async def keep() -> None:
            async with AsyncExitStack() as stack:
                try:
                    way = await connect(api, cluster, wishes, stack, self._say)
                except Exception as error:
                    if not found.done():
                        found.set_exception(error)
                    return
                if not found.done():
                    found.set_result(way)
                await asyncio.Event().wait()

        self._keeper = asyncio.ensure_future(keep())
        self.way = await found
        return self.way

    async def answer(self, scheduler: Any, name: str, timeout: float) -> None:
        """Wait until the scheduler of a cluster answers.

        Raises
        ------
        NoConnection
            It does not answer in time.
        """
        last: Exception | None = None
        try:
            async with asyncio.timeout(timeout):
                while True:
                    try:
                        await scheduler.versions()
                        return
                    except (OSError, TimeoutError) as error:
                        last = error
                    await asyncio.sleep(0.2)
        except TimeoutError:
            address = self.way.scheduler_address if self.way else "no address"
            raise NoConnection(
                f"the scheduler of {name} does not answer at {address} "
                f"within {timeout:g} s: {last or 'no answer'}"
            ) from last

    async def close(self) -> None:
        """End the forwards."""
        if self._keeper is not None:
            await tasks.end([self._keeper])


def scheduler_at(way: Way, security: Security | None) -> Any:
    """Return the scheduler of a cluster, for calls."""
    arguments = security.get_connection_args("client") if security else {}
    return rpc(way.scheduler_address, connection_args=arguments)


async def joined(join: Callable[[], Awaitable[None]], name: str, timeout: float) -> None:
    """Have a cluster follow the workers of its scheduler.

    Raises
    ------
    NoConnection
        The scheduler accepts the connection, and does not report them in time.
    """
    try:
        async with asyncio.timeout(timeout):
            await join()
    except (OSError, TimeoutError) as error:
        reason = str(error) or f"no answer within {timeout:g} s"
        raise NoConnection(
            f"the scheduler of {name} does not report its workers: {reason}"
        ) from error


async def subscribed_again(
    scheduler: Any, *, wanted: Callable[[], bool]
) -> tuple[Any, SchedulerInfo] | None:
    """Return a new comm for changes of the workers, and the workers; ``None``: no longer wanted.

    The scheduler's pod may have been replaced, which takes a while.
    """
    while wanted():
        try:
            async with asyncio.timeout(SUBSCRIBE_SECONDS):
                comm = await scheduler.live_comm()
                comm.name = "Cluster worker status"
                await comm.write({"op": "subscribe_worker_status"})
                return comm, SchedulerInfo(await comm.read())
        except (OSError, TimeoutError):
            await asyncio.sleep(AGAIN_SECONDS)
    return None
