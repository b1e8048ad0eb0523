"""The connection of a client: one per event loop, opened on first use.

Sockets, locks and tasks belong to one event loop. A client that is used in two loops, one after the
other or in two threads, has a connection in each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from daskjob.kube.access import Credentials
from daskjob.kube.api import Api
from daskjob.submit.client.job_watch import JobWatch


@dataclass
class Session:
    """An open connection, with one watch for each namespace in which jobs are awaited."""

    api: Api
    credentials: Credentials
    _watches: dict[str, JobWatch] = field(default_factory=dict)

    def watch(self, namespace: str) -> JobWatch:
        """Return the watch of the jobs of a namespace."""
        return self._watches.setdefault(namespace, JobWatch(self.api, namespace))

    async def close(self) -> None:
        """End the watches."""
        for watch in self._watches.values():
            await watch.close()


class Connection:
    """Connections to one API server, each for the event loop that uses it."""

    def __init__(
        self, find: Callable[[], Credentials], open_api: Callable[[Credentials], Api]
    ) -> None:
        self._find = find
        self._open_api = open_api
        self._open: dict[asyncio.AbstractEventLoop, tuple[Session, AsyncExitStack]] = {}

    async def session(self) -> Session:
        """Return the session of the running event loop."""
        loop = asyncio.get_running_loop()
        found = self._open.get(loop)
        if found is not None:
            return found[0]
        self._forget_closed_loops()
        credentials = self._find()
        api = self._open_api(credentials)
        stack = AsyncExitStack()
        session = Session(api, credentials)
        # Known before the first await: two tasks open one session.
        self._open[loop] = session, stack
        await stack.enter_async_context(api)
        stack.push_async_callback(session.close)
        return session

    async def close(self) -> None:
        """Close the connection of the running event loop."""
        found = self._open.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await found[1].aclose()

    def _forget_closed_loops(self) -> None:
        """Forget the sessions of loops that have ended: nothing can be awaited there any more."""
        for loop in [known for known in self._open if known.is_closed()]:
            del self._open[loop]
