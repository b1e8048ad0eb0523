"""Since when a kind is followed without a gap.

After a gap, the cache lacks what clients wrote meanwhile, and what they could not write because
they did not reach the server either. The wall clock measures it: a machine that sleeps, with
operator, server and client on it, has a gap too.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: A watch is heard of each minute, by a bookmark.
GAP_SECONDS = 90.0


class Continuity:
    """Since when a watch is followed without a gap, in seconds of the wall's clock."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._since: float | None = None
        self._last = clock()

    def heard(self) -> None:
        """Record that the server was heard of."""
        since, now = self.since(), self._clock()
        self._since, self._last = (now if since is None else since), now

    def broken(self) -> None:
        """Record that the watch broke."""
        self._since = None

    def since(self) -> float | None:
        """Return since when there was no gap; ``None`` while there is one."""
        return None if self._clock() - self._last > GAP_SECONDS else self._since
