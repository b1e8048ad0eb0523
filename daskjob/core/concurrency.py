"""How many steps of a pass run at once: many, but few alongside a pass that creates little.

An API server at its limit is shared in proportion to the requests in flight: with 32 steps at once
of a scale-up to 1,000 workers, a small job submitted meanwhile ran after 13 s instead of 3. The
clock is a parameter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Steps at once of a pass that delays no other. More are no faster, and need more connections.
STEPS_ALONE = 32
#: Steps at once of a big pass during a small one, and for ``AFTERWARDS_SECONDS`` after it.
STEPS_GIVING_WAY = 4
#: A pass with up to this number of steps is small: a job and its cluster, or a group with a few
#: workers.
SMALL_STEPS = 16
#: For about this time after a small pass, the same API server handles the scheduling and start of
#: the created objects; the next pass, which creates the next ones, comes within it.
AFTERWARDS_SECONDS = 0.5


class PassConcurrency:
    """Limits the steps of all passes of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: The clusters of running small passes, once per pass.
        self._small: list[str] = []
        #: Until when others give way to a cluster after a small pass over it.
        self._until: dict[str, float] = {}

    @property
    def remembered(self) -> int:
        """The number of clusters to which others give way, or did recently."""
        return len(self._until.keys() | self._small)

    @contextmanager
    def creating(self, objects: int, cluster: str) -> Iterator[None]:
        """Make big passes give way while a small one creates objects, and shortly afterwards.

        Passes over the same cluster do not give way: that would only slow down its own start.
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
        """Return how many of a pass' ``steps``, over this cluster, may run at once right now."""
        if steps <= SMALL_STEPS:
            return STEPS_ALONE
        self._forget_past()
        others = (self._until.keys() | self._small) - {cluster}
        return STEPS_GIVING_WAY if others else STEPS_ALONE

    def _forget_past(self) -> None:
        """Discard clusters to which others no longer give way."""
        now = self._clock()
        for past in [other for other, until in self._until.items() if until <= now]:
            del self._until[past]
