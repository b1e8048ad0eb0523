"""The rate of requests, with a clock that advances only by sleeping."""

from __future__ import annotations

import asyncio

import pytest

from daskjob.kube.limiter import Limiter


class Clock:
    """A clock that advances only by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limiter(clock: Clock, rate: float = 300.0, burst: float | None = None) -> Limiter:
    return Limiter(rate, burst, clock=clock, sleep=clock.sleep)


async def take(found: Limiter, turns: int) -> None:
    for _ in range(turns):
        await found.turn()


def test_a_burst_is_sent_at_once_and_then_300_a_second(clock: Clock) -> None:
    found = limiter(clock)
    asyncio.run(take(found, 300))
    assert clock.now == 1000.0
    asyncio.run(take(found, 600))
    assert clock.now == pytest.approx(1002.0)


def test_unused_time_is_saved_for_one_burst_only(clock: Clock) -> None:
    found = limiter(clock)
    asyncio.run(take(found, 300))
    clock.now += 3600
    asyncio.run(take(found, 301))
    assert clock.now == pytest.approx(4600 + 1 / 300)


def test_a_429_halves_the_rate_and_it_grows_back_by_30_a_second(clock: Clock) -> None:
    found = limiter(clock)
    found.rejected(0)
    assert found.rate == 150
    clock.now += 2
    asyncio.run(take(found, 1))
    assert found.rate == pytest.approx(210, abs=1)
    clock.now += 10
    asyncio.run(take(found, 1))
    assert found.rate == 300


def test_429s_within_a_second_slow_down_once(clock: Clock) -> None:
    found = limiter(clock)
    for _ in range(32):
        found.rejected(0)
    assert found.rate == 150


def test_the_rate_never_falls_below_one_a_second(clock: Clock) -> None:
    found = Limiter(1.5, clock=clock, sleep=clock.sleep)
    found.rejected(0)
    assert found.rate == 1


def test_nothing_is_sent_before_retry_after(clock: Clock) -> None:
    found = limiter(clock)
    found.rejected(7)
    asyncio.run(take(found, 1))
    assert clock.now == pytest.approx(1007)


def test_a_shorter_retry_after_does_not_end_a_longer_one(clock: Clock) -> None:
    found = limiter(clock)
    found.rejected(7)
    found.rejected(1)
    asyncio.run(take(found, 1))
    assert clock.now == pytest.approx(1007)


def test_no_answer_can_delay_requests_for_longer_than_a_minute(clock: Clock) -> None:
    found = limiter(clock)
    found.rejected(3600)
    asyncio.run(take(found, 1))
    assert clock.now == pytest.approx(1060)


async def test_requests_are_sent_in_their_order(clock: Clock) -> None:
    found = limiter(clock, rate=10, burst=1)
    order: list[int] = []

    async def one(number: int) -> None:
        await found.turn()
        order.append(number)

    await asyncio.gather(*(one(number) for number in range(20)))
    assert order == list(range(20))
    assert clock.now == pytest.approx(1001.9)


async def test_a_cancelled_waiter_takes_no_turn() -> None:
    found = Limiter(1000.0, 1)
    found.rejected(0.05)
    waiting = asyncio.create_task(found.turn())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.wait_for(found.turn(), 5)
