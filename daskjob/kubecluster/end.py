"""The end of a cluster: by a call, by its deletion elsewhere, or with the process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from distributed.core import Status

from daskjob.core.errors import Conflict, DaskJobError, NotFound
from daskjob.core.status import SHUT_DOWN
from daskjob.kube.errors import Replaced
from daskjob.kubecluster import process_end, tasks
from daskjob.kubecluster.errors import CloseTimeout
from daskjob.kubecluster.host import Host
from daskjob.kubecluster.session import Session
from daskjob.kubecluster.watch import ClusterWatch

#: How long the host may take to end its connections.
SECONDS = 10.0


class End:
    """Ends a cluster, once; every call waits for the end, deletion included.

    ``leave`` has the host end its connections, as any Dask cluster does; ``show`` shows the end.
    A host that ``owns_loop`` has one in a thread, which runs until the end of the process.
    """

    def __init__(
        self,
        host: Host,
        session: Session,
        *,
        owns_loop: bool,
        leave: Callable[[], Awaitable[None]],
        show: Callable[[], None],
    ) -> None:
        #: A fork has the cluster too, and must not end it.
        self.process = os.getpid()
        self._host = host
        self._session = session
        self._owns_loop = owns_loop
        self._leave = leave
        self._show = show
        self._start: asyncio.Task[None] | None = None
        self._undoing: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def begun(self, start: asyncio.Task[None]) -> None:
        """Take the start, which a close ends where it still goes on."""
        self._start = start

    async def close(self) -> None:
        """Close the cluster, and delete it if that is wanted."""
        if self._host.status == Status.closed:
            return
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._steps())
        await asyncio.shield(self._closing)

    async def close_within(self, timeout: float | None) -> None:
        """Close the cluster; give up after ``timeout`` seconds.

        Raises
        ------
        CloseTimeout
            It takes longer; the rest of it is cancelled.
        """
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                await self.close()
        except TimeoutError:
            if not limit.expired():
                raise
            if self._closing is not None:
                await tasks.end([self._closing])
            name = self._host.name
            raise CloseTimeout(f"cluster {name} was not closed within {timeout:g} s") from None

    async def when_gone(self, watch: ClusterWatch) -> None:
        """Close once the cluster was deleted, or its scheduler was shut down by a client."""
        while self._host.status == Status.running:
            if watch.gone or self._was_shut_down(watch):
                self._session.log(
                    "The cluster is gone" if watch.gone else "The cluster was shut down"
                )
                self._session.release_current_task()
                await self.close()
                return
            await watch.change()

    def _was_shut_down(self, watch: ClusterWatch) -> bool:
        condition = watch.scheduler_condition()
        shut_down = condition is not None and condition.reason == SHUT_DOWN
        return bool(self._host.shutdown_on_close and shut_down)

    async def abandon(self) -> None:
        """End a start that is no longer waited for, with all that it made."""
        if self._start is not None and not self._start.done():
            if self._undoing is None:
                self._start.cancel()
            await asyncio.wait([self._start])
        if self._host.status != Status.closed:
            await self.undo()

    async def undo(self) -> None:
        """End a start that has failed, once: what it made is removed, what it found stays.

        It goes on without those who wait for it: Ctrl-C cancels them more than once.
        """
        if self._undoing is None:
            self._undoing = asyncio.ensure_future(self._undo())
        await asyncio.shield(self._undoing)

    async def _undo(self) -> None:
        try:
            with suppress(Exception):
                await self._disconnect()
            with suppress(Exception):
                await self._session.creation.delete(self._session.clients)
            # Not if this is cancelled: then the end of the process deletes it.
            process_end.closed(self)
        finally:
            self._closed()
            with suppress(Exception):
                await self._session.clients.close()

    async def _steps(self) -> None:
        if self._start is not None and not self._start.done():
            await self.abandon()
            return
        lease, deletes = self._session.lease, bool(self._host.shutdown_on_close)
        try:
            await self._disconnect()
            if deletes:
                await self._delete()
            elif lease is not None and self._session.creation.is_possible:
                with suppress(DaskJobError):
                    await lease.drop()
        finally:
            process_end.closed(self)
            self._closed()
            # A frontend that is gone is no reason to fail.
            with suppress(Exception):
                self._show()
            await self._session.clients.close()

    def _closed(self) -> None:
        self._host.status = Status.closed
        self._session.connection.way = None

    async def _disconnect(self) -> None:
        """End connections, forwards, watches and tasks."""
        await self._session.end_tasks()
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(SECONDS):
                await self._leave()
        # The base class ends with its connections; "closed" means that the cluster is deleted too.
        self._host.status = Status.closing
        for callback in self._host.periodic_callbacks.values():
            callback.stop()
        self._host.periodic_callbacks.clear()
        if self._session.watch is not None:
            await self._session.watch.stop()
        await self._session.connection.close()

    async def _delete(self) -> None:
        if self._session.watch is None:
            await self._session.creation.delete(self._session.clients)
            return
        try:
            await self._session.clients.delete(self._session.watch.cluster)
        except Conflict as error:
            # A job's: it ends with the job.
            self._session.log(str(error))

    # ---- with the process

    @property
    def is_copy(self) -> bool:
        """Whether this is the copy of a forked process, where no thread runs the host's loop."""
        return self.process != os.getpid()

    def in_own_loop(self, seconds: float) -> bool:
        """Close it at the end of the process; return whether its own loop could do that."""
        if not self._owns_loop or not self._host.loop.asyncio_loop.is_running():
            return False
        self._close_clients()
        self._host.sync(self.close, callback_timeout=seconds)
        return True

    def _close_clients(self) -> None:
        from distributed.client import Client

        open_clients: list[Any] = list(Client._instances)
        for client in open_clients:
            if client.cluster is self._host:
                with suppress(Exception):
                    client.close(timeout=1)

    async def elsewhere(self) -> None:
        """Delete it at the end of the process, if its own loop has ended."""
        self._host.status = Status.closed
        if self._host.shutdown_on_close is False:
            return
        async with self._session.clients as clients:
            if self._session.creation.is_possible:
                await self._session.creation.delete(clients)
            elif self._session.watch is not None and self._host.shutdown_on_close:
                with suppress(NotFound, Replaced):
                    api = await clients.api()
                    await api.delete(self._session.watch.ref, metadata_only=True)
