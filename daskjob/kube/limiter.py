"""The rate limit of requests: a token bucket that slows down when the API server is overloaded.

A 429 halves the rate and stops all requests for as long as the server asks; then the rate recovers.
The clock and the sleep are parameters.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

REQUESTS_PER_SECOND = 300.0
#: The lowest rate: only requests can show that the server has recovered.
SLOWEST_PER_SECOND = 1.0
#: From half to full rate takes five seconds without a 429.
RECOVERY_PER_SECOND = 30.0
#: The longest stop of all requests after a 429.
LONGEST_STOP_SECONDS = 60.0
#: 429s within this time halve the rate once: requests sent together are rejected together.
ONE_REASON_SECONDS = 1.0


class Limiter:
    """Admits requests in the order in which they ask."""

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
        """The current limit in requests per second."""
        return self._rate

    async def turn(self) -> None:
        """Wait until a request may be sent."""
        async with self._line:
            while (wait := self._wait()) > 0:
                await self._sleep(wait)
            self._tokens -= 1

    def rejected(self, retry_after: float) -> None:
        """Slow down after a 429: halve the rate, and stop for ``retry_after`` seconds."""
        now = self._clock()
        self._count(now)
        if now - self._slowed_at >= ONE_REASON_SECONDS:
            self._slowed_at = now
            self._rate = max(self._rate / 2, SLOWEST_PER_SECOND)
        # These tokens were saved up at a rate that is too high.
        self._tokens = min(self._tokens, 1.0)
        stop = min(retry_after, LONGEST_STOP_SECONDS)
        self._stopped_until = max(self._stopped_until, now + stop)

    def _wait(self) -> float:
        now = self._clock()
        self._count(now)
        missing = 1 - self._tokens
        # A rounding error is no reason to wait: the clock may be coarser than that.
        wait = missing / self._rate if missing > 1e-9 else 0.0
        return max(wait, self._stopped_until - now)

    def _count(self, now: float) -> None:
        passed = now - self._counted_at
        self._counted_at = now
        self._tokens = min(self._tokens + passed * self._rate, self._burst)
        self._rate = min(self._rate + passed * RECOVERY_PER_SECOND, self._fastest)
