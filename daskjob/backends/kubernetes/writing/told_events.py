"""Which Events were told of an object, so that none is told again a moment later. No I/O here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from daskjob.core.decision import Event

#: For so long, in seconds, the same words about the same object are no news.
EVENT_SECONDS = 600.0


class ToldEvents:
    """When which Event was told, by the uid of its object."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[str, dict[Event, float]] = {}

    def __len__(self) -> int:
        """Return of how many objects something is remembered."""
        return len(self._told)

    def news(self, uid: str, events: Iterable[Event]) -> list[Event]:
        """Return those events of an object that are to be told, and take note that they were."""
        now = self._clock()
        told = self._told.get(uid, {})
        news = [event for event in dict.fromkeys(events) if not _is_recent(told.get(event), now)]
        if news:
            self._told[uid] = {**told, **dict.fromkeys(news, now)}
        return news

    def forget(self, uid: str) -> None:
        """Let go of an object that is gone: nothing more is told of it."""
        self._told.pop(uid, None)

    def tidy(self) -> None:
        """Let go of what was told so long ago that it may be told again."""
        now = self._clock()
        recent = {
            uid: {event: at for event, at in told.items() if _is_recent(at, now)}
            for uid, told in self._told.items()
        }
        self._told = {uid: told for uid, told in recent.items() if told}


def _is_recent(told_at: float | None, now: float) -> bool:
    return told_at is not None and now - told_at < EVENT_SECONDS
