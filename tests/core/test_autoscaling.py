"""The judgement of an autoscaler: windows, bounds, steps (design §2.1)."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any

import pytest

from daskjob.backends.fake import START
from daskjob.core.dask import dask_state
from daskjob.core.demand import MOST_LEVELS, Demand, demands_after
from daskjob.core.policies.autoscaling import Autoscale, ScalingReason, autoscale
from daskjob.core.spec import DaskAutoscaler, parse
from tests.core.manifests import autoscaler


def at(seconds: float) -> datetime:
    """A moment after the beginning."""
    return START + timedelta(seconds=seconds)


def wanted(*points: tuple[float, int]) -> Demand:
    """What a scheduler said, each at its second."""
    (first, workers), *rest = points
    demand = Demand(workers, at(first))
    for seconds, count in rest:
        demand = demand.then(count, at(seconds))
    return demand


def judged(
    current: int, demand: Demand, seconds: float, per_pod: int = 1, **spec: Any
) -> Autoscale:
    """The judgement of a group of so many, so long after the beginning."""
    found = parse(DaskAutoscaler, autoscaler(**spec))
    return autoscale(found, current, demand, at(seconds), per_pod=per_pod)


# Windows


def test_more_come_at_once_and_fewer_after_60_s_when_nothing_else_is_said() -> None:
    demand = wanted((0, 2), (100, 8))
    assert judged(2, demand, 100).count == 8
    demand = demand.then(1, at(200))
    assert judged(8, demand, 200).count == 8
    assert judged(8, demand, 259).count == 8
    assert judged(8, demand, 260).count == 1


def test_a_group_shrinks_to_the_most_that_was_wanted_in_the_window() -> None:
    demand = wanted((0, 9), (100, 2), (110, 5), (120, 1))
    assert [judged(9, demand, t).count for t in (159, 160, 169, 170, 179, 180)] == [
        9,
        5,
        5,
        5,
        5,
        1,
    ]


def test_a_group_grows_to_the_fewest_that_were_wanted_in_the_window() -> None:
    demand = wanted((0, 1), (100, 9), (105, 4), (110, 7))
    counts = [judged(1, demand, t, scaleUpDelaySeconds=30).count for t in (129, 130, 139, 140)]
    assert counts == [1, 4, 4, 7]


def test_a_dip_shorter_than_the_window_removes_nobody() -> None:
    demand = wanted((0, 8), (100, 0), (159, 8))
    assert all(judged(8, demand, t).count == 8 for t in range(100, 400))


def test_a_peak_shorter_than_the_window_adds_nobody() -> None:
    demand = wanted((0, 1), (100, 9), (129, 1))
    counts = {judged(1, demand, t, scaleUpDelaySeconds=30).count for t in range(60, 400)}
    assert counts == {1}


def test_what_is_not_known_for_the_whole_window_changes_nothing() -> None:
    demand = wanted((1000, 1))
    assert judged(8, demand, 1059).count == 8
    assert judged(8, demand, 1060).count == 1
    assert judged(8, demand, 1000).reason is ScalingReason.AS_FOUND
    assert judged(1, wanted((1000, 8)), 1029, scaleUpDelaySeconds=30).count == 1


def test_with_no_delay_at_all_the_group_follows_at_once() -> None:
    demand = wanted((0, 8), (10, 2))
    assert judged(8, demand, 10, scaleDownDelaySeconds=0).count == 2


# Bounds


@pytest.mark.parametrize(("want", "count"), [(0, 2), (1, 2), (2, 2), (3, 3), (5, 5), (50, 5)])
def test_no_count_is_below_the_minimum_or_above_the_maximum(want: int, count: int) -> None:
    demand = wanted((0, want))
    for current in range(8):
        assert judged(current, demand, 1000, minimum=2, maximum=5).count == count


def test_bounds_hold_at_once_whatever_the_windows_say() -> None:
    demand = wanted((0, 4))
    below = judged(1, demand, 0, minimum=3, scaleUpDelaySeconds=600)
    assert (below.count, below.reason) == (3, ScalingReason.BELOW_MINIMUM)
    above = judged(9, demand, 0, maximum=6)
    assert (above.count, above.reason) == (6, ScalingReason.ABOVE_MAXIMUM)


def test_0_is_a_size_and_is_left_when_something_is_wanted() -> None:
    demand = wanted((0, 0))
    assert judged(3, demand, 60, minimum=0).count == 0
    assert judged(0, demand.then(1, at(70)), 70, minimum=0).count == 1
    assert judged(1, wanted((0, 5)), 60, minimum=0, maximum=0).count == 0


def test_the_largest_number_that_a_scheduler_can_say_stays_within_the_maximum() -> None:
    assert judged(1, wanted((0, 10**30)), 0).count == 10


# Steps


def test_a_group_changes_by_the_maximum_step_and_says_where_it_is_going() -> None:
    up = judged(1, wanted((0, 9)), 0, maximumStep=3)
    assert (up.count, up.desired) == (4, 9)
    down = judged(9, wanted((0, 2)), 60, maximumStep=3)
    assert (down.count, down.desired) == (6, 2)
    last = judged(8, wanted((0, 9)), 0, maximumStep=3)
    assert (last.count, last.desired) == (9, 9)


def test_a_step_never_keeps_a_group_out_of_its_bounds() -> None:
    assert judged(1, wanted((0, 9)), 0, minimum=6, maximumStep=2).count == 6
    assert judged(30, wanted((0, 9)), 60, maximum=10, maximumStep=2).count == 10


# Pods of several workers


@pytest.mark.parametrize(("workers", "pods"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_pods_of_four_workers_are_as_many_as_hold_those_that_are_wanted(
    workers: int, pods: int
) -> None:
    for current in (1, 2, 3, 9):
        assert judged(current, wanted((0, workers)), 60, per_pod=4).count == pods


# Words


@pytest.mark.parametrize(
    ("current", "want", "spec", "reason", "why"),
    [
        (2, 5, {}, "MoreWanted", "the scheduler wants 5 workers"),
        (1, 50, {}, "MoreWanted", "the scheduler wants 50 workers, the maximum is 10"),
        (
            1,
            5,
            {"scaleUpDelaySeconds": 30},
            "MoreWanted",
            "the scheduler wants 5 workers, and has for 30 s",
        ),
        (5, 1, {}, "FewerWanted", "the scheduler wants no more than 1 worker, and has for 60 s"),
        (
            5,
            0,
            {"scaleDownDelaySeconds": 0},
            "FewerWanted",
            "the scheduler wants no more than 0 workers, the minimum is 1",
        ),
        (0, 0, {}, "BelowMinimum", "the minimum is 1"),
        (12, 12, {}, "AboveMaximum", "the maximum is 10"),
        (5, 5, {}, "AsFound", "no change is due"),
    ],
)
def test_a_judgement_says_why(
    current: int, want: int, spec: dict[str, int], reason: str, why: str
) -> None:
    found = judged(current, wanted((0, want)), 1000, **spec)
    assert (found.reason, found.why) == (reason, why)


# What is known of the past


def oscillating(low: int, high: int, period: int, seconds: int) -> list[tuple[float, int]]:
    """A wish that goes up and down, as a scheduler that is asked every 5 s tells it."""
    return [(t, high if (t // period) % 2 == 0 else low) for t in range(0, seconds, 5)]


def test_of_an_hour_of_ups_and_downs_a_handful_of_levels_is_kept() -> None:
    demand = wanted(*oscillating(1, 9, 10, 3600))
    assert len(demand.highs) + len(demand.lows) <= 2
    falling = wanted(*((t, 5000 - t) for t in range(5000)))
    assert len(falling.highs) <= MOST_LEVELS


def test_what_is_kept_tells_of_every_window_what_the_whole_past_would() -> None:
    points = [(t, (t * 7919) % 23) for t in range(0, 300, 5)]
    demand = wanted(*points)
    for window in (0, 5, 7, 30, 61, 150, 300):
        for now in (295, 299, 340):
            start = now - window
            held = zip(points, [*points[1:], (float("inf"), 0)], strict=True)
            inside = [w for (_, w), (end, _) in held if end > start]
            known = start >= 0
            assert demand.most(window, at(now)) == (max(inside) if known else None)
            assert demand.fewest(window, at(now)) == (min(inside) if known else None)


def test_levels_that_are_taken_together_make_a_window_longer_and_never_shorter() -> None:
    demand = wanted(*((t, 200 - t) for t in range(200)))
    for window in range(1, 199):
        most = demand.most(window, at(199))
        assert most is not None
        assert most >= 1 + window


def test_time_alone_changes_what_a_window_tells_only_at_the_moments_that_are_named() -> None:
    demand = wanted((0, 4), (50, 9), (70, 2), (80, 3))
    moments = {(m - START).total_seconds() for m in demand.changes(60, 30)}
    seen = [(demand.most(60, at(t)), demand.fewest(30, at(t))) for t in range(80, 300)]
    changed = {81 + i for i, (a, b) in enumerate(itertools.pairwise(seen)) if a != b}
    assert changed <= moments


def test_a_group_of_which_the_scheduler_says_nothing_is_known_no_more() -> None:
    known = demands_after({}, {"a": 3, "b": 1}, at(0))
    known = demands_after(known, {"a": 5}, at(5))
    assert set(known) == {"a"}
    assert known["a"].since == at(0)
    again = demands_after(known, {"a": 5, "b": 1}, at(10))
    assert again["b"].since == at(10)


# Load that goes up and down


def lived(period: int, seconds: int = 3600, **spec: Any) -> tuple[int, int]:
    """How many pods such a load has created and deleted, of a group that began with 1."""
    found = parse(DaskAutoscaler, autoscaler(**spec))
    points = oscillating(1, 9, period, seconds)
    demand, current, created, deleted = Demand(1, at(-1000)), 1, 0, 0
    for t, workers in points:
        demand = demand.then(workers, at(t))
        count = autoscale(found, current, demand, at(t)).count
        created += max(count - current, 0)
        deleted += max(current - count, 0)
        current = count
    return created, deleted


@pytest.mark.parametrize("period", [5, 10, 30, 55, 60])
def test_load_that_changes_faster_than_the_window_creates_8_pods_in_an_hour_and_deletes_none(
    period: int,
) -> None:
    assert lived(period) == (8, 0)


@pytest.mark.parametrize("period", [65, 120, 300])
def test_load_that_changes_slower_creates_and_deletes_8_pods_in_each_of_its_turns(
    period: int,
) -> None:
    concurrency = 3600 // (2 * period) + 1
    created, deleted = lived(period)
    assert created <= 8 * concurrency
    assert deleted <= 8 * concurrency
    # No pod is deleted before the window is over: so many fit into an hour at the most.
    assert deleted <= 8 * (3600 // 60)


def test_without_a_window_the_same_load_creates_and_deletes_8_pods_in_every_turn() -> None:
    created, deleted = lived(10, scaleDownDelaySeconds=0)
    assert created == 8 * 180
    assert deleted >= 8 * 179


def test_of_what_a_scheduler_says_only_counts_are_taken_for_wishes() -> None:
    said = {"a": 3, "b": 0, "c": -1, "d": True, "e": "4", "f": None, "g": 2.5, "h": 10**30}
    assert dask_state({"target": said}).targets == {"a": 3, "b": 0}
    assert dask_state({"target": [1]}).targets == {}
    assert dask_state({}).targets == {}
