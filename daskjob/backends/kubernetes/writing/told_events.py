"""Recently emitted Events, so that the same Event is not emitted again too soon."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from daskjob.core.decision import Event

#: The same Event on the same object is emitted once within this time.
EVENT_SECONDS = 600.0


class ToldEvents:
    """When each Event was last emitted, by the uid of its object."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[str, dict[Event, float]] = {}

    def __len__(self) -> int:
        """Return the number of objects with recent Events."""
        return len(self._told)

    def news(self, uid: str, events: Iterable[Event]) -> list[Event]:
        """Return the events that were not emitted recently, and record them as emitted now."""
        now = self._clock()
        told = self._told.get(uid, {})
        news = [event for event in dict.fromkeys(events) if not _is_recent(told.get(event), now)]
        if news:
            self._told[uid] = {**told, **dict.fromkeys(news, now)}
        return news

    def forget(self, uid: str) -> None:
        """Discard the Events of an object that is gone."""
        self._told.pop(uid, None)

    def tidy(self) -> None:
        """Discard Events that may be emitted again."""
        now = self._clock()
        recent = {
            uid: {event: at for event, at in told.items() if _is_recent(at, now)}
            for uid, told in self._told.items()
        }
        self._told = {uid: told for uid, told in recent.items() if told}


def _is_recent(told_at: float | None, now: float) -> bool:
    return told_at is not None and now - told_at < EVENT_SECONDS
