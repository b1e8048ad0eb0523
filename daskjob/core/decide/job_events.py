"""The Events of a job: one for each important change of its status."""

from __future__ import annotations

from dataclasses import replace

from daskjob.core.decision import Event
from daskjob.core.manifests import format_time
from daskjob.core.messages import cut
from daskjob.core.reasons import Reason
from daskjob.core.status import ConditionType, JobStatus, JobStatusWord

#: Maximum length of an Event's message, within Kubernetes' own limit.
EVENT_LIMIT = 1000


def events_between(
    old: JobStatus, new: JobStatus, *, unwritten: JobStatus | None = None
) -> tuple[Event, ...]:
    """Return the Events for the change from one status to the next.

    ``unwritten`` is the status of an attempt that has ended: a short one ends before a status shows
    that it ran.
    """
    events = [
        *(_starts(old, unwritten) if unwritten else ()),
        *_ends(old, new),
        *_starts(old, new),
        *_concurrency(old, new),
        *_problems(old, new),
    ]
    return tuple(replace(event, message=cut(event.message, EVENT_LIMIT)) for event in events)


def _ends(old: JobStatus, new: JobStatus) -> list[Event]:
    if new.finished and not old.finished:
        if new.succeeded:
            return [Event("Completed", new.message)]
        return [Event(new.reason, new.message, warning=True)]
    if len(new.attempts) and new.attempt != old.attempt:
        last = new.attempts[-1]
        if last.reason == Reason.SUSPENDED:
            return [Event("Suspended", last.message)]
        when = format_time(new.next_attempt_time)
        text = f"attempt {last.number} failed ({last.reason}): {last.message}"
        return [Event("Retrying", f"{text} Next attempt at {when}.", warning=True)]
    return []


def _starts(old: JobStatus, new: JobStatus) -> list[Event]:
    if new.job_status is not JobStatusWord.RUNNING or old.job_status is new.job_status:
        return []
    # The status that shows it is written up to some seconds later.
    text = f"attempt {new.attempt} is running in pod {new.job_runner_pod_name}."
    return [Event("Started", text, at=new.attempt_start_time)]


def _concurrency(old: JobStatus, new: JobStatus) -> list[Event]:
    events = []
    if old.suspended and not new.suspended and not new.finished:
        events.append(Event("Resumed", "the job was resumed."))
    if new.suspended and not old.suspended and new.attempt == old.attempt:
        events.append(Event("Suspended", "the job has no pods until spec.suspend is false."))
    if new.ignored_spec_hash != old.ignored_spec_hash:
        text = "the pod templates changed after the start; a running attempt keeps the old ones."
        events.append(Event("SpecChangeIgnored", text, warning=True))
    stalled = new.condition(ConditionType.STALLED)
    was = old.condition(ConditionType.STALLED)
    if stalled and stalled.status and not (was and was.status):
        events.append(Event("Stalled", stalled.message, warning=True))
    return events


def _problems(old: JobStatus, new: JobStatus) -> list[Event]:
    """Return an Event for a new reason to wait; a changed message alone is not an Event."""
    if new.finished or new.attempt != old.attempt or not new.reason or new.reason == old.reason:
        return []
    return [Event(new.reason, new.message, warning=True)]
