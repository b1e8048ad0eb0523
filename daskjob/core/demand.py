"""How many workers a scheduler has wanted of a group, and since when that is known. No I/O here.

A stabilisation window asks for the most, or the fewest, that was wanted within it. A scheduler is
asked once in a while, so what it said holds until it says something else. Of what it said before
only that is kept which may still be the most or the fewest of some window: of an hour in which the
wish went up and down a thousand times, a handful of levels.

Nothing of this is written anywhere. Who knows nothing of the past, after a restart or a silence,
begins anew: a window that reaches back further than what is known has no answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias

#: Levels that are kept on each side. Of more, the two oldest are taken for one that was wanted by
#: both until the later's end, which makes a window longer, never shorter.
MOST_LEVELS = 50


@dataclass(frozen=True, slots=True)
class Level:
    """A number of workers that was wanted, until a moment."""

    workers: int
    until: datetime


@dataclass(frozen=True, slots=True)
class Demand:
    """What a scheduler wants of one group now, and has wanted since it is known."""

    #: Workers that are wanted now.
    workers: int
    since: datetime
    #: More was wanted before: each more than what came after it, so each the most of some window.
    highs: tuple[Level, ...] = ()
    #: Fewer were wanted before, likewise.
    lows: tuple[Level, ...] = ()

    def then(self, workers: int, at: datetime) -> Demand:
        """Return the demand after the scheduler has said what it wants now."""
        if workers == self.workers:
            return self
        left = Level(self.workers, at)
        highs = tuple(level for level in (*self.highs, left) if level.workers > workers)
        lows = tuple(level for level in (*self.lows, left) if level.workers < workers)
        return replace(self, workers=workers, highs=_thinned(highs), lows=_thinned(lows))

    def most(self, seconds: int, now: datetime) -> int | None:
        """Return the most that was wanted in the last seconds; ``None``: that is not known."""
        start = now - timedelta(seconds=seconds)
        if start < self.since:
            return None
        return max([self.workers, *(high.workers for high in self.highs if high.until > start)])

    def fewest(self, seconds: int, now: datetime) -> int | None:
        """Return the fewest that were wanted in the last seconds; ``None``: that is not known."""
        start = now - timedelta(seconds=seconds)
        if start < self.since:
            return None
        return min([self.workers, *(low.workers for low in self.lows if low.until > start)])

    def changes(self, down_seconds: int, up_seconds: int) -> Iterator[datetime]:
        """Yield the moments at which time alone changes what windows of this length tell."""
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


#: What a scheduler wants of each group, by the name of the DaskWorkerGroup.
Demands: TypeAlias = Mapping[str, Demand]


def demands_after(before: Demands, targets: Mapping[str, int], at: datetime) -> Demands:
    """Return what is wanted of each group after an answer of the scheduler.

    A group of which it says nothing is known no more; one that is new is known from now on.
    """
    return {
        group: before[group].then(workers, at) if group in before else Demand(workers, at)
        for group, workers in targets.items()
    }
