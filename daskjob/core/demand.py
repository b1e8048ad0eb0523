"""The number of workers that a scheduler has wanted in a group, over time.

A stabilisation window needs the maximum, or the minimum, of the number wanted within it. The
scheduler is polled, so each value holds until the next one. Past values are kept only while they
can still be the maximum or minimum of some window: even an hour with a thousand changes leaves a
handful of levels.

Nothing is persisted. After a restart or a gap the history starts again, and a window that begins
before the history has no result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeAlias

#: Maximum number of levels on each side. Beyond it, the two oldest are merged into one that lasts
#: until the later's end; this can only make a window longer, never shorter.
MOST_LEVELS = 50


def suggested_bounds(workers: int) -> tuple[int, int]:
    """Return the bounds that a form for automatic scaling starts with, for this many workers."""
    return 0, max(10, 2 * workers)


@dataclass(frozen=True, slots=True)
class Level:
    """A number of workers that was wanted until a time."""

    workers: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Demand:
    """The number of workers that a scheduler wants in one group, now and in the known past."""

    #: The number of workers wanted now.
    workers: int
    since: datetime
    #: Higher past values: each exceeds all later ones, so each is the maximum of some window.
    highs: tuple[Level, ...] = ()
    #: Lower past values, likewise.
    lows: tuple[Level, ...] = ()

    def then(self, workers: int, at: datetime) -> Demand:
        """Return the demand after a new value from the scheduler."""
        if workers == self.workers:
            return self
        left = Level(self.workers, at)
        highs = tuple(level for level in (*self.highs, left) if level.workers > workers)
        lows = tuple(level for level in (*self.lows, left) if level.workers < workers)
        return replace(self, workers=workers, highs=_thinned(highs), lows=_thinned(lows))

    def most(self, seconds: int, now: datetime) -> int | None:
        """Return the maximum of the last seconds; ``None`` if the history is too short."""
        start = now - timedelta(seconds=seconds)
        if start < self.since:
            return None
        return max([self.workers, *(high.workers for high in self.highs if high.until > start)])

    def fewest(self, seconds: int, now: datetime) -> int | None:
        """Return the minimum of the last seconds; ``None`` if the history is too short."""
        start = now - timedelta(seconds=seconds)
        if start < self.since:
            return None
        return min([self.workers, *(low.workers for low in self.lows if low.until > start)])

    def changes(self, down_seconds: int, up_seconds: int) -> Iterator[datetime]:
        """Yield the times at which the result of these windows changes by itself."""
        for levels, seconds in ((self.highs, down_seconds), (self.lows, up_seconds)):
            window = timedelta(seconds=seconds)
            yield self.since + window
            for level in levels:
                yield level.until + window


def _thinned(levels: tuple[Level, ...]) -> tuple[Level, ...]:
    if len(levels) <= MOST_LEVELS:
        return levels
    oldest, older, *rest = levels
    return (Level(oldest.workers, older.until), *rest)


#: The number of groups whose demand is kept at most: a tenant's pod may answer for any number.
MOST_TARGETS = 200

#: The demand in each group, by the name of the DaskWorkerGroup.
Demands: TypeAlias = Mapping[str, Demand]


def demands_after(before: Demands, targets: Mapping[str, int], at: datetime) -> Demands:
    """Return the demand in each group after a response of the scheduler.

    A group missing from it loses its history; a new one starts its history.
    """
    return {
        group: before[group].then(workers, at) if group in before else Demand(workers, at)
        for group, workers in islice(targets.items(), MOST_TARGETS)
    }
