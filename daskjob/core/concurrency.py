"""How many steps of a pass are under way at once: many, but few beside a pass that creates little.

On an API server at its limit, whoever has more requests there gets more of it: with 32 steps at
once of a scale-up to 1,000 workers, a small job that came meanwhile ran after 13 s instead of 3.
No I/O here, and the clock is a parameter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Steps of a pass that nobody waits behind. More are no faster, and need more connections.
STEPS_ALONE = 32
#: Steps of a big pass beside a small one, and for a while after it.
STEPS_BESIDE = 4
#: A pass of so many steps is small: a job and its cluster, or a group with a few workers.
SMALL_STEPS = 16
#: What a small pass has created is scheduled and starts for about so long, by the same API server;
#: the next pass, which creates what it needs next, comes within it.
AFTERWARDS_SECONDS = 0.5


class PassConcurrency:
    """What the passes of one process know of each other."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: Small passes under way: the clusters that they are about, once for each.
        self._small: list[str] = []
        #: Until when a cluster that a small pass was about has others give way.
        self._until: dict[str, float] = {}

    @property
    def remembered(self) -> int:
        """Of how many clusters it knows that others give way to them, or did lately."""
        return len(self._until.keys() | self._small)

    @contextmanager
    def creating(self, objects: int, cluster: str) -> Iterator[None]:
        """Have big passes give way while a small one creates objects, and for a while after it.

        Passes about the same cluster do not: its own start is no reason to start it more slowly.
        """
        if not 0 < objects <= SMALL_STEPS:
            yield
            return
        self._small.append(cluster)
        try:
            yield
        finally:
            self._small.remove(cluster)
            self._forget_past()
            self._until[cluster] = self._clock() + AFTERWARDS_SECONDS

    def at_once(self, steps: int, cluster: str) -> int:
        """Return how many of so many steps, about a cluster, may be under way at this moment."""
        if steps <= SMALL_STEPS:
            return STEPS_ALONE
        self._forget_past()
        beside = (self._until.keys() | self._small) - {cluster}
        return STEPS_BESIDE if beside else STEPS_ALONE

    def _forget_past(self) -> None:
        """Keep nothing of a cluster that nobody gives way to any more."""
        now = self._clock()
        for past in [other for other, until in self._until.items() if until <= now]:
            del self._until[past]
