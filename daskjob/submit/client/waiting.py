"""Waiting for a job: to its end, or for what changes.

Success is only ever a terminal status of the job with this uid, observed. A job that vanished, or
was created again under the same name, is ``NotFound``, whatever the new one does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from daskjob.core.errors import NotFound, Timeout
from daskjob.core.manifests import Manifest, ObjectRef, mapping
from daskjob.core.names import MANAGED_BY
from daskjob.core.status import JobStatus, job_status_from
from daskjob.core.wording import HOW_TO_INSTALL
from daskjob.submit.client.job_watch import JobWatch, Subscription

#: An idle operator writes the first status within 0.2 s.
PICK_UP_SECONDS = 8.0

Notify = Callable[[str], None]


async def states(
    watch: JobWatch, ref: ObjectRef, *, notify: Notify
) -> AsyncGenerator[Manifest, None]:
    """Yield the job's current state, then each new one, up to the terminal one.

    ``notify`` is called once if no operator picks the job up.

    Raises
    ------
    NotFound
        The job is gone.
    """
    async with watch.subscription(ref) as subscribed:
        reminder = _Reminder(ref, notify)
        try:
            while True:
                await subscribed.change()
                reminder.see(subscribed.latest)
                # What the caller does with it takes time: there may be a newer state afterwards.
                state = _state(subscribed)
                yield state
                if _finished(state):
                    return
        finally:
            reminder.cancel()


async def end_of(
    watch: JobWatch, ref: ObjectRef, *, timeout_seconds: float | None, notify: Notify
) -> Manifest:
    """Return the job once it has ended.

    Raises
    ------
    Timeout
        It has not ended; it continues.
    NotFound
        It is gone.
    """
    last: Manifest = {}
    try:
        async with (
            asyncio.timeout(timeout_seconds),
            aclosing(states(watch, ref, notify=notify)) as seen,
        ):
            async for last in seen:
                if _finished(last):
                    return last
    except TimeoutError as error:
        raise Timeout(_timed_out(ref, last, timeout_seconds)) from error
    raise AssertionError("states end with a terminal one")


def _state(subscribed: Subscription) -> Manifest:
    if subscribed.gone and not _finished(subscribed.latest):
        raise NotFound(f"{subscribed.ref} was deleted before it ended")
    return subscribed.latest


def _finished(job: Manifest) -> bool:
    return _status(job).finished


def _status(job: Manifest) -> JobStatus:
    return job_status_from(job.get("status"))


def _timed_out(ref: ObjectRef, last: Manifest, seconds: float | None) -> str:
    status = _status(last)
    state = status.phase or ("no status" if last else "not seen")
    why = f": {status.message}" if status.message else ""
    hint = f"; {not_picked_up(ref, last)}" if last and not status.job_status else ""
    return f"{ref.name} has not ended within {seconds:g} s, it continues ({state}{why}){hint}"


class _Reminder:
    """Reports once that nobody picked up the job within ``PICK_UP_SECONDS``."""

    def __init__(self, ref: ObjectRef, notify: Notify) -> None:
        self._ref = ref
        self._notify = notify
        self._latest: Manifest = {}
        self._timer: asyncio.TimerHandle | None = None

    def see(self, job: Manifest) -> None:
        self._latest = job
        if _status(job).job_status:
            self.cancel()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(PICK_UP_SECONDS, self._remind)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _remind(self) -> None:
        self._notify(not_picked_up(self._ref, self._latest))


def not_picked_up(ref: ObjectRef, job: Manifest) -> str:
    """Return the message for a job without a status."""
    manager = str(mapping(job.get("spec")).get("managedBy") or MANAGED_BY)
    if manager != MANAGED_BY:
        return f"{ref.name} has no status yet: it is left to {manager} (spec.managedBy)"
    return (
        f"no operator has picked up {ref.name} yet; check that one watches namespace "
        f"{ref.namespace}, or install it: {HOW_TO_INSTALL}"
    )
