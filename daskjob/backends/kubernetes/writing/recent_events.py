"""Recently emitted Events, so that the same Event is not emitted again too soon."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from daskjob.core.decision import Event

#: The same Event on the same object is emitted once within this time.
EVENT_SECONDS = 600.0


class RecentEvents:
    """When each Event was last emitted, by the uid of its object."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._emitted_at: dict[str, dict[Event, float]] = {}

    def __len__(self) -> int:
        """Return the number of objects with recent Events."""
        return len(self._emitted_at)

    def record_new(self, uid: str, events: Iterable[Event]) -> list[Event]:
        """Return the events that were not emitted recently, and record them as emitted now."""
        now = self._clock()
        before = self._emitted_at.get(uid, {})
        new = [event for event in dict.fromkeys(events) if not _is_recent(before.get(event), now)]
        if new:
            self._emitted_at[uid] = {**before, **dict.fromkeys(new, now)}
        return new

    def forget(self, uid: str) -> None:
        """Discard the Events of an object that is gone."""
        self._emitted_at.pop(uid, None)

    def tidy(self) -> None:
        """Discard Events that may be emitted again."""
        now = self._clock()
        recent = {
            uid: {event: at for event, at in emitted.items() if _is_recent(at, now)}
            for uid, emitted in self._emitted_at.items()
        }
        self._emitted_at = {uid: emitted for uid, emitted in recent.items() if emitted}


def _is_recent(emitted_at: float | None, now: float) -> bool:
    return emitted_at is not None and now - emitted_at < EVENT_SECONDS
