"""Waits return what they waited for, and show on a timeout what was seen last."""

from __future__ import annotations

import itertools

import pytest

from tests.waiting import until, wait_until


def test_a_wait_returns_the_first_true_value() -> None:
    counted = itertools.count()
    assert wait_until(lambda: next(counted), pause=0) == 1


@pytest.mark.parametrize(
    ("shows", "message"),
    [(None, "s: 0"), ("a node", "s: a node"), (lambda: ["a"], r"\['a'\]")],
)
def test_a_wait_that_times_out_shows_what_was_seen_last(shows: str | None, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        wait_until(lambda: 0, 0.02, shows)


@pytest.mark.virtual_time
async def test_an_async_wait_uses_the_clock_of_its_loop() -> None:
    with pytest.raises(AssertionError, match="still not so after 3600 s: never"):
        await until(lambda: 0, 3600, lambda: "never", pause=60)


async def test_an_async_wait_may_await_what_it_waits_for() -> None:
    counted = itertools.count()

    async def asked() -> int:
        return next(counted)

    assert await until(asked, pause=0) == 1
