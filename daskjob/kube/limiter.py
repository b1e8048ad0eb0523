"""How fast requests may be sent: a bucket of tokens whose rate gives way to the API server's.

A 429 halves the rate and stops all requests for as long as the server asked; then the rate grows
back. No I/O here but waiting: the clock and the sleep are parameters.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

REQUESTS_PER_SECOND = 300.0
#: So slow it gets, and no slower: the queue has to move for anybody to see that it can.
SLOWEST_PER_SECOND = 1.0
#: From half to full takes five seconds without a 429.
RECOVERY_PER_SECOND = 30.0
#: So long all requests wait at most for one that was refused.
LONGEST_STOP_SECONDS = 60.0
#: Requests that were sent together are refused together: that is one reason to slow down.
ONE_REASON_SECONDS = 1.0


class Limiter:
    """Requests take turns, in the order in which they ask."""

    def __init__(
        self,
        rate: float = REQUESTS_PER_SECOND,
        burst: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._fastest = rate
        self._burst = burst if burst is not None else rate
        self._clock = clock
        self._sleep = sleep
        self._line = asyncio.Lock()
        self._rate = rate
        self._tokens = self._burst
        self._counted_at = clock()
        self._slowed_at = float("-inf")
        self._stopped_until = float("-inf")

    @property
    def rate(self) -> float:
        """Requests per second that may be sent at this moment."""
        return self._rate

    async def turn(self) -> None:
        """Wait until a request may be sent."""
        async with self._line:
            while (wait := self._wait()) > 0:
                await self._sleep(wait)
            self._tokens -= 1

    def rejected(self, retry_after: float) -> None:
        """Give way after a 429: half the rate, and nothing at all for so many seconds."""
        now = self._clock()
        self._count(now)
        if now - self._slowed_at >= ONE_REASON_SECONDS:
            self._slowed_at = now
            self._rate = max(self._rate / 2, SLOWEST_PER_SECOND)
        # What was saved up was saved at a rate that is too high.
        self._tokens = min(self._tokens, 1.0)
        stop = min(retry_after, LONGEST_STOP_SECONDS)
        self._stopped_until = max(self._stopped_until, now + stop)

    def _wait(self) -> float:
        now = self._clock()
        self._count(now)
        missing = 1 - self._tokens
        # What is left over by rounding is no reason to wait: a clock may not be that fine.
        wait = missing / self._rate if missing > 1e-9 else 0.0
        return max(wait, self._stopped_until - now)

    def _count(self, now: float) -> None:
        passed = now - self._counted_at
        self._counted_at = now
        self._tokens = min(self._tokens + passed * self._rate, self._burst)
        self._rate = min(self._rate + passed * RECOVERY_PER_SECOND, self._fastest)
