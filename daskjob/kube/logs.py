"""The log of one container: every line once, over any number of disconnects."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from daskjob.core.manifests import Manifest, ObjectRef, mapping, mappings
from daskjob.kube.api import Api
from daskjob.kube.errors import Throttled, Unanswered, Unreachable
from daskjob.kube.log_position import LogPosition
from daskjob.kube.objects import get_object

logger = logging.getLogger(__name__)

#: A log that is silent for longer is requested again: its connection may be half-open.
IDLE_SECONDS = 60.0
SHORTEST_WAIT_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 5.0
#: Consecutive failures of a log that is not followed; one that is followed is requested until it is
#: complete, however long the API server is away.
TRIES = 5
#: Failures that pass.
TRANSIENT = (Throttled, Unanswered, Unreachable)


@dataclass(frozen=True, slots=True)
class LogWish:
    """What to read of a container's log."""

    #: The pod of this uid, if it has one.
    pod: ObjectRef
    container: str
    follow: bool = False
    #: Only the last N lines of what there is at first.
    tail: int | None = None
    #: Only lines from this moment on, to the second.
    since: datetime | None = None


class ContainerLog:
    """Reads the log of a container.

    Its pod may be gone at any moment, and with it its log.
    """

    def __init__(self, api: Api, wish: LogWish, *, stamps: bool = False) -> None:
        self._api = api
        self._wish = wish
        self._position = LogPosition(wish.tail, stamps=stamps)
        #: Whether the log was complete before the current request.
        self._complete = not wish.follow
        self._tail_was_read = wish.tail is None
        self._failures = 0
        #: Consecutive responses of a complete log without a new line.
        self._short = 0
        #: The end of the last response after its last newline.
        self._rest = b""

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """Yield lines, several at a time, to the end of the container or of what there is.

        Raises
        ------
        NotFound
            The pod is gone.
        BadRequest
            The container has not started, or does not exist.
        ApiError
            A log that is not followed could not be read.
        """
        while True:
            was_complete, was_tail = self._complete, not self._tail_was_read
            some = False
            try:
                async with aclosing(self._response()) as response:
                    async for lines in response:
                        self._failures, some = 0, True
                        yield lines
                self._tail_was_read = True
                if was_complete and (not self._wish.follow or self._is_last(some)):
                    break
                self._rest = self._position.rest
            except TRANSIENT as error:
                self._failures += 1
                if not self._wish.follow and self._failures >= TRIES:
                    raise
                logger.debug("%s; resuming the log", error)
            if self._wish.follow and not was_tail:
                await self._check()
                if self._complete and await self._has_all():
                    break
        if last := self._position.end():
            yield b"".join(last)

    async def _response(self) -> AsyncGenerator[bytes, None]:
        """Yield the new lines of one request."""
        await self._pause()
        query = self._query()
        # Of no lines at all, the last one is read, as the position from which to follow.
        unwanted = "tailLines" in query and not self._wish.tail
        async with self._api.log(self._wish.pod, query, idle_seconds=IDLE_SECONDS) as chunks:
            self._position.resume()
            async for chunk in chunks:
                lines = self._position.feed(chunk)
                if lines and not unwanted:
                    yield b"".join(lines)
        if "tailLines" in query and not self._position.begun:
            # The only line lacks a newline, and is the position all the same.
            lines = self._position.end()
            if lines and not unwanted:
                yield b"".join(lines)

    async def _has_all(self) -> bool:
        """Return whether the last line of a complete log is the last one that was read.

        The API server also ends a response without an error when its own connection to the kubelet
        breaks, and what it has sent until then looks complete.
        """
        query = {"container": self._wish.container, "timestamps": "true", "tailLines": "1"}
        try:
            async with self._api.log(self._wish.pod, query, idle_seconds=IDLE_SECONDS) as chunks:
                return self._position.ends_with(b"".join([chunk async for chunk in chunks]))
        except TRANSIENT as error:
            logger.debug("%s; resuming the log", error)
            return False

    def _is_last(self, some: bool) -> bool:
        """Return whether a response of a complete log shows that there are no more lines.

        That is for a log whose last line cannot be compared, such as one that was rotated at its
        end: no new line for several responses, each with the same end.
        """
        if some or self._position.rest != self._rest:
            self._short = 0
            return False
        self._short += 1
        self._failures += 1
        return self._short >= TRIES

    def _query(self) -> dict[str, str]:
        query = {"container": self._wish.container, "timestamps": "true"}
        if self._wish.since is not None:
            moment = self._wish.since.astimezone(UTC)
            query["sinceTime"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        if not self._tail_was_read and not self._position.begun:
            # The last lines first, and then what follows: a request for both that breaks before its
            # first line could not be resumed.
            return {**query, "tailLines": str(max(self._wish.tail or 0, 1))}
        if self._position.since:
            query["sinceTime"] = self._position.since
        return query if self._complete else {**query, "follow": "true"}

    async def _check(self) -> None:
        """Find out whether the container has ended: then the next response is the last one."""
        try:
            pod = await get_object(self._api, self._wish.pod)
        except TRANSIENT as error:
            logger.debug("%s; resuming the log", error)
            self._failures += 1
            return
        self._complete = has_ended(pod, self._wish.container)
        # A response may end a moment before the pod's status shows why.
        self._failures += not self._complete

    async def _pause(self) -> None:
        if not self._failures:
            return
        wait = SHORTEST_WAIT_SECONDS * 2.0 ** min(self._failures - 1, 10)
        await asyncio.sleep(min(wait, LONGEST_WAIT_SECONDS) * random.uniform(0.5, 1.0))


def has_ended(pod: Manifest, container: str) -> bool:
    """Return whether a container has ended for now, or its pod for good."""
    status = mapping(pod.get("status"))
    if status.get("phase") in ("Succeeded", "Failed"):
        return True
    for found in mappings(status.get("containerStatuses")):
        if found.get("name") == container:
            return "terminated" in mapping(found.get("state"))
    return False
