"""How long a command waits for an API server that accepts connections and does not answer.

A server behind a dead VPN, a proxy, or a load balancer without backends may keep a connection open
forever. The first message comes after some seconds, and the command ends: with an error unless the
server has ever answered, and always at the end of its own time limit.

No event loop is needed: a program that only submits a job has none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from daskjob.core.errors import ApiError, Timeout

#: When the first message comes.
FIRST_MESSAGE_SECONDS = 3.0
#: How long the first answer may take, retries included: less than one request with its retries.
FIRST_ANSWER_SECONDS = 25.0


class NoAnswer(ApiError):
    """The API server has not answered any request."""


class Unhealthy(ApiError):
    """The API server, or what is before it, has only answered that it failed."""


class OutOfTime(Timeout):
    """The time limit of the command is over, and the API server has not answered."""


class Patience:
    """The patience of one command with one API server.

    ``notify`` gets the message, in another thread. ``ends_at`` is when the time limit of the
    command is over, by the monotonic clock.
    """

    def __init__(
        self, notify: Callable[[str], None], *, context: str = "", ends_at: float | None = None
    ) -> None:
        self._notify = notify
        self._of_context = f" (context {context})" if context else ""
        self._ends_at = ends_at
        self._first_by: float | None = None
        self._timer: threading.Timer | None = None
        self._has_answered = False
        #: The last failure of the server itself.
        self._failure = ""
        #: Whether the message was sent, and no answer has come since.
        self.is_waiting = False

    def left(self, server: str) -> float | None:
        """Return how long a request to the server may take; ``None``: no limit.

        Raises
        ------
        NoAnswer, Unhealthy
            The time for the first answer is over.
        OutOfTime
            The time limit of the command is over.
        """
        self._start(server)
        ends = [at for at in (self._first_by, self._ends_at) if at is not None]
        if not ends:
            return None
        left = min(ends) - time.monotonic()
        if left <= 0:
            raise self.error(server)
        return left

    def answered(self) -> None:
        """Take in an answer, whatever it is."""
        self._has_answered = True
        self.is_waiting = False
        self._first_by = None
        self.close()

    def failed(self, text: str) -> None:
        """Take in an answer that is a failure of the server itself, which may recover."""
        self._failure = text

    def error(self, server: str) -> NoAnswer | Unhealthy | OutOfTime:
        """Return the error for a time that is over."""
        self.is_waiting = True
        self.close()
        name = f"the API server at {_host(server)}{self._of_context}"
        if self._ends_at is not None and time.monotonic() >= self._ends_at - 0.05:
            return OutOfTime(f"{name} did not answer before the end of --timeout")
        if self._failure:
            seconds = f"{FIRST_ANSWER_SECONDS:g} s"
            return Unhealthy(f"{name} has only failed for {seconds}: {self._failure}")
        return NoAnswer(f"{name} has not answered for {FIRST_ANSWER_SECONDS:g} s")

    @asynccontextmanager
    async def limit(self, server: str) -> AsyncIterator[None]:
        """End what is awaited within when the time is over.

        Raises
        ------
        NoAnswer, Unhealthy, OutOfTime
            As ``left``.
        """
        # A program that only submits a job does not need it.
        import asyncio

        try:
            async with asyncio.timeout(self.left(server)) as scope:
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise self.error(server) from error

    def _start(self, server: str) -> None:
        """Start to count at the first request: a login before it takes the time that it takes."""
        if self._has_answered or self._first_by is not None:
            return
        self._first_by = time.monotonic() + FIRST_ANSWER_SECONDS
        text = f"waiting for the API server at {_host(server)}{self._of_context} …"
        self._timer = threading.Timer(FIRST_MESSAGE_SECONDS, self._say, (text,))
        self._timer.daemon = True
        self._timer.start()

    def _say(self, text: str) -> None:
        self.is_waiting = True
        self._notify(text)

    def close(self) -> None:
        """Send no message any more."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


def _host(server: str) -> str:
    """Return the host and the port of a server's URL, without a user and a password."""
    return urlsplit(server).netloc.rpartition("@")[2] or server
