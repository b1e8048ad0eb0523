"""The queue: each key once, one pass per key, bounded backoff, and no leftovers."""

from __future__ import annotations

import sys

import pytest

from daskjob.controller.queue import PATIENT_TRIES, SOON_TRIES, WorkQueue, wait_after


class Time:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def queue(time: Time) -> WorkQueue[str]:
    return WorkQueue(time, jitter=lambda: 1.0)


def fail(queue: WorkQueue[str], key: str = "a", *, retryable: bool = True) -> float:
    """Fail a pass that must be due now; return the key's backoff."""
    assert queue.take() == key
    return queue.failed(key, retryable=retryable)


def failing(time: Time, count: int) -> WorkQueue[int]:
    """Return a queue with this number of keys that just failed for the first time."""
    queue: WorkQueue[int] = WorkQueue(time)
    for number in range(count):
        queue.add(number)
        queue.take()
        queue.failed(number, retryable=True)
    return queue


# In line


def test_change_that_can_wait_is_due_shortly_after_along_with_later_ones(
    queue: WorkQueue[str], time: Time
) -> None:
    queue.add("a", within=0.25)
    time.now = 0.2
    queue.add("a", within=0.25)
    assert queue.take() is None
    assert queue.seconds_until_due() == pytest.approx(0.05)
    time.now = 0.25
    assert queue.take() == "a"
    queue.done("a")
    assert len(queue) == 0


def test_urgent_change_is_taken_along_with_those_that_could_wait(queue: WorkQueue[str]) -> None:
    queue.add("a", within=0.25)
    queue.add("a")
    assert queue.take() == "a"
    queue.done("a")
    assert len(queue) == 0


def test_add_returns_whether_the_key_is_due_sooner_now(queue: WorkQueue[str], time: Time) -> None:
    assert queue.add("a", within=10)
    assert not queue.add("a", within=10)
    assert queue.add("a", within=5)
    assert queue.add("a")
    assert not queue.add("a"), "it is queued already"
    queue.take()
    assert not queue.add("a"), "its pass is running, and will report its end"
    queue.done("a")
    assert queue.take() == "a"
    queue.failed("a", retryable=True)
    time.now += 60
    assert queue.add("a"), "it is queued again, with the failed keys"


def test_change_that_can_wait_during_a_pass_is_due_shortly_after_it(
    queue: WorkQueue[str], time: Time
) -> None:
    queue.add("a")
    assert queue.take() == "a"
    queue.add("a", within=0.25)
    queue.done("a", wake_in=100.0)
    assert queue.take() is None
    time.now = 0.25
    assert queue.take() == "a"


def test_change_that_can_wait_does_not_delay_an_earlier_due_time(
    queue: WorkQueue[str], time: Time
) -> None:
    queue.add("a")
    assert queue.take() == "a"
    queue.done("a", wake_in=0.1)
    queue.add("a", within=0.25)
    time.now = 0.1
    assert queue.take() == "a"


def test_key_that_changes_three_times_is_taken_once(queue: WorkQueue[str]) -> None:
    for _ in range(3):
        queue.add("a")
    assert queue.take() == "a"
    assert queue.take() is None


def test_keys_are_taken_in_the_order_in_which_they_changed(queue: WorkQueue[str]) -> None:
    for key in "cab":
        queue.add(key)
    assert [queue.take(), queue.take(), queue.take()] == ["c", "a", "b"]


def test_key_that_changes_during_its_pass_is_taken_again_after_it(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.take()
    queue.add("a")
    assert queue.take() is None
    queue.done("a")
    assert queue.take() == "a"
    queue.done("a")
    assert queue.take() is None


# Later


def test_key_is_due_when_its_pass_asked(queue: WorkQueue[str], time: Time) -> None:
    queue.add("a")
    queue.take()
    queue.done("a", wake_in=5.0)
    assert queue.seconds_until_due() == 5.0
    time.now = 4.999
    assert queue.take() is None
    time.now = 5.0
    assert queue.take() == "a"


def test_earliest_of_several_timers_is_first(queue: WorkQueue[str], time: Time) -> None:
    for key, wait in (("a", 30.0), ("b", 10.0), ("c", 20.0)):
        queue.add(key)
        queue.take()
        queue.done(key, wait)
    assert queue.seconds_until_due() == 10.0
    time.now = 60.0
    assert [queue.take(), queue.take(), queue.take()] == ["b", "c", "a"]


def test_newer_pass_replaces_the_timer_of_an_older_one(queue: WorkQueue[str], time: Time) -> None:
    queue.add("a")
    queue.take()
    queue.done("a", wake_in=5.0)
    queue.add("a")
    queue.take()
    queue.done("a", wake_in=50.0)
    time.now = 49.0
    assert queue.take() is None
    assert queue.timers == 1
    time.now = 50.0
    assert queue.take() == "a"


def test_pass_without_a_wake_time_removes_the_timer(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.take()
    queue.done("a", wake_in=5.0)
    queue.add("a")
    queue.take()
    queue.done("a")
    assert queue.seconds_until_due() is None
    assert len(queue) == 0


def test_wake_time_in_the_past_is_now_but_not_a_hot_loop(queue: WorkQueue[str], time: Time) -> None:
    queue.add("a")
    moments = []
    while time.now < 20.0:
        assert queue.take() == "a"
        moments.append(time.now)
        queue.done("a", wake_in=-3.0)
        wait = queue.seconds_until_due()
        assert wait is not None
        time.now += wait
    assert moments[1] == 0.0
    assert len(moments) < 30
    assert moments[-1] - moments[-2] == pytest.approx(1.0)


# After failures


def test_backoff_grows_to_10_s_during_an_outage_and_then_to_10_minutes() -> None:
    waits = [wait_after(n, retryable=True) for n in (1, 2, 3, 4, 5, 90, 91, 92, 97, 1000)]
    assert waits == [1, 2, 4, 8, 10, 10, 20, 40, 600, 600]
    assert sum(wait_after(n, retryable=True) for n in range(1, PATIENT_TRIES)) > 14 * 60


def test_waits_after_a_denied_change_are_short_for_a_minute_and_then_grow_to_10_minutes() -> None:
    waits = [wait_after(n, retryable=False) for n in (1, 2, 4, 5, 9, 10, 11, 14, 5000)]
    assert waits == [1, 2, 8, 10, 10, 60, 120, 600, 600]
    assert 60 <= sum(wait_after(n, retryable=False) for n in range(1, SOON_TRIES + 1)) <= 70


def test_failed_key_is_due_again_after_its_backoff(queue: WorkQueue[str], time: Time) -> None:
    queue.add("a")
    assert fail(queue) == 1.0
    time.now = 0.99
    assert queue.take() is None
    time.now = 1.0
    assert fail(queue) == 2.0


def test_backoff_has_jitter(time: Time) -> None:
    queue: WorkQueue[int] = WorkQueue(time)
    waits = set()
    for key in range(20):
        queue.add(key)
        queue.take()
        waits.add(queue.failed(key, retryable=True))
    assert len(waits) > 10
    assert all(1.0 <= wait <= 1.25 for wait in waits)


def test_success_ends_the_series_of_failures(queue: WorkQueue[str], time: Time) -> None:
    queue.add("a")
    for _ in range(3):
        fail(queue)
        time.now += 100.0
    queue.take()
    assert queue.failing == 1
    queue.done("a")
    queue.add("a")
    assert fail(queue) == 1.0


def test_change_shortens_a_long_backoff_to_30_s_but_not_a_short_one(
    queue: WorkQueue[str], time: Time
) -> None:
    queue.add("a")
    assert fail(queue, retryable=False) == 1.0
    queue.add("a")
    time.now = 0.99
    assert queue.take() is None
    for _ in range(9):
        time.now += 600.0
        wait = fail(queue, retryable=False)
    assert wait == 60.0
    failed_at = time.now
    queue.add("a")
    time.now = failed_at + 29.9
    assert queue.take() is None
    time.now = failed_at + 30.0
    assert queue.take() == "a"


def test_a_pass_that_is_set_aside_is_made_on_a_change_or_later_and_is_no_success(
    queue: WorkQueue[str], time: Time
) -> None:
    queue.add("a")
    assert fail(queue) == 1.0
    time.now = 1.0
    queue.take()
    queue.set_aside("a", 5.0)
    assert (queue.take(), queue.failing) == (None, 1)
    queue.add("a")
    assert queue.take() == "a"
    queue.set_aside("a", 5.0)
    time.now = 6.0
    assert queue.take() == "a"
    queue.add("a")
    queue.set_aside("a", 5.0)
    assert queue.take() == "a"
    assert queue.failed("a", retryable=True) == 2.0


def test_change_during_a_pass_that_fails_is_not_lost(queue: WorkQueue[str], time: Time) -> None:
    queue.add("a")
    for _ in range(10):
        fail(queue, retryable=False)
        time.now += 600.0
    queue.take()
    queue.add("a")
    assert queue.failed("a", retryable=False) == 30.0


def test_object_that_keeps_failing_and_changing_is_tried_at_most_once_a_second(
    queue: WorkQueue[str], time: Time
) -> None:
    queue.add("a")
    tries = 0
    for tick in range(600):
        time.now = tick / 10
        queue.add("a")
        if queue.take():
            tries += 1
            queue.failed("a", retryable=True)
    assert 5 <= tries <= 10


def test_1000_failing_objects_are_tried_10_times_a_second_in_total(time: Time) -> None:
    queue = failing(time, 1000)
    tries = 0
    for tick in range(2000):
        time.now = 100.0 + tick / 20
        while (key := queue.take()) is not None:
            tries += 1
            queue.failed(key, retryable=True)
    assert 980 <= tries <= 1020


def test_1000_objects_continue_at_once_after_an_outage(time: Time) -> None:
    queue = failing(time, 1000)
    time.now = 100.0
    while (key := queue.take()) is not None:
        queue.done(key)
    assert len(queue) == 0


def test_failing_objects_do_not_delay_others(queue: WorkQueue[str], time: Time) -> None:
    for number in range(100):
        queue.add(f"poison-{number}")
        fail(queue, f"poison-{number}")
    time.now = 10.0
    queue.add("good")
    taken = [queue.take() for _ in range(21)]
    assert "good" in taken


def test_hurry_retries_failed_keys_but_not_within_a_second(
    queue: WorkQueue[str], time: Time
) -> None:
    queue.add("long ago")
    for _ in range(10):
        fail(queue, "long ago", retryable=False)
        time.now += 600.0
    assert queue.take() == "long ago"
    queue.failed("long ago", retryable=False)
    time.now += 5.0
    queue.add("just now")
    fail(queue, "just now")
    queue.add("well")
    queue.take()
    queue.done("well", wake_in=3.0)
    queue.hurry()
    assert [queue.take(), queue.take()] == ["long ago", None]
    assert queue.seconds_until_due() == 1.0


# Cancelled passes


def test_key_that_was_put_back_is_due_once_at_once(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.take()
    queue.put_back("a")
    assert queue.seconds_until_due() == 0.0
    assert queue.take() == "a"
    queue.add("a", 0.5)
    queue.put_back("a")
    assert [queue.take(), queue.take()] == ["a", None]
    queue.done("a")
    assert queue.seconds_until_due() is None


# Leftovers


def test_500_clusters_created_and_deleted_leave_nothing_queued(queue: WorkQueue[str]) -> None:
    for number in range(500):
        for _ in range(3):
            queue.add(f"cluster-{number}")
            queue.take()
            queue.done(f"cluster-{number}", wake_in=86400.0)
    assert queue.timers == 500
    for number in range(500):
        queue.add(f"cluster-{number}")
        queue.take()
        queue.done(f"cluster-{number}")
    assert (len(queue), queue.timers, len(queue._timers), queue.depth) == (0, 0, 0, 0)
    assert queue.seconds_until_due() is None
    assert sys.getsizeof(queue._entries) == sys.getsizeof({})


def test_replaced_timers_do_not_accumulate(queue: WorkQueue[str]) -> None:
    for _ in range(10_000):
        queue.add("a")
        queue.take()
        queue.done("a", wake_in=86400.0)
    assert queue.timers == 1
    assert len(queue._timers) < 200


# Numbers


def test_depth_and_age_are_those_of_waiting_keys(queue: WorkQueue[str], time: Time) -> None:
    assert (queue.depth, queue.oldest_seconds, queue.stuck_seconds) == (0, 0, 0)
    queue.add("a")
    time.now = 4.0
    queue.add("b")
    time.now = 5.0
    assert (queue.depth, queue.oldest_seconds, queue.stuck_seconds) == (2, 5.0, 5.0)
    queue.take()
    time.now = 7.0
    assert (queue.depth, queue.oldest_seconds, queue.stuck_seconds) == (1, 3.0, 2.0)
    queue.take()
    time.now = 1000.0
    assert (queue.depth, queue.oldest_seconds, queue.stuck_seconds) == (0, 0, 0)


def test_queue_that_waits_for_a_timer_is_not_stuck(queue: WorkQueue[str], time: Time) -> None:
    queue.add("a")
    queue.take()
    queue.done("a", wake_in=3600.0)
    time.now = 3000.0
    assert queue.stuck_seconds == 0
