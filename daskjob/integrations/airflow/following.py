"""Follows a job from the process of a task: its state and its log, until its end or a signal.

Airflow's handler of SIGTERM calls ``on_kill`` between any two instructions of the main thread, and
returns into it. So the main thread only takes items from a queue; the handler puts one there. What
waits for the job runs in other threads, which end with it or with the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from daskjob.integrations.airflow.log_lines import Lines
from daskjob.submit.jobs import Job, JobRef

if TYPE_CHECKING:
    from daskjob.submit.client.sync_client import JobClient
    from daskjob.submit.local import LocalJobs

#: How long the rest of the log is waited for after the end of the job.
LOG_SECONDS = 15.0
#: A wait without an end would not see a signal that comes right before it.
WAKE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Seen:
    """A new state of the job."""

    job: Job


@dataclass(frozen=True, slots=True)
class Line:
    """A line of its log."""

    text: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The task was asked to end."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """A thread has ended; with what it failed."""

    what: str
    error: BaseException | None


Item = Seen | Line | Stop | _Ended


class Follower:
    """Follows one job; ``stop`` may be called in the handler of a signal."""

    def __init__(self) -> None:
        self._items: SimpleQueue[Item] = SimpleQueue()

    def stop(self) -> None:
        """End ``follow`` with ``Stop``."""
        self._items.put(Stop())

    def follow(
        self, client: JobClient | LocalJobs, ref: JobRef, *, log: bool
    ) -> Iterator[Seen | Line | Stop | None]:
        """Yield states and lines up to the last state; ``None`` now and then.

        Raises
        ------
        DaskJobError
            The job was deleted, or its state cannot be read any more.
        """
        self._start("state", lambda: (Seen(job) for job in client.watch(ref)))
        if log:
            self._start("log", lambda: _lines(client, ref))
        waits_for = {"state", "log"} if log else {"state"}
        last: Seen | None = None
        give_up = float("inf")
        while waits_for and time.monotonic() < give_up:
            try:
                item = self._items.get(timeout=WAKE_SECONDS)
            except Empty:
                yield None
                continue
            if isinstance(item, _Ended):
                waits_for.discard(item.what)
                if item.what == "state":
                    if item.error is not None:
                        raise item.error
                    give_up = time.monotonic() + LOG_SECONDS
                continue
            if isinstance(item, Seen) and item.job.status.finished:
                # After its log.
                last = item
                continue
            yield item
        if last is not None:
            yield last

    def _start(self, what: str, make: Callable[[], Iterator[Any]]) -> None:
        def run() -> None:
            error: BaseException | None = None
            try:
                for item in make():
                    self._items.put(item)
            except BaseException as caught:  # Also that of a client which was closed meanwhile.
                error = caught
            self._items.put(_Ended(what, error))

        threading.Thread(target=run, name=f"daskjob-{what}", daemon=True).start()


def _lines(client: JobClient | LocalJobs, ref: JobRef) -> Iterator[Line]:
    lines = Lines()
    for chunk in client.logs(ref, follow=True):
        for text in lines.of(chunk):
            yield Line(text)
    for text in lines.rest():
        yield Line(text)
