"""The decision of an autoscaler: windows, bounds, steps (design §2.1)."""

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
    """Return a time after the start."""
    return START + timedelta(seconds=seconds)


def wanted(*points: tuple[float, int]) -> Demand:
    """Return a scheduler's demand as pairs of second and count."""
    (first, workers), *rest = points
    demand = Demand(workers, at(first))
    for seconds, count in rest:
        demand = demand.then(count, at(seconds))
    return demand


def judged(
    current: int, demand: Demand, seconds: float, per_pod: int = 1, **spec: Any
) -> Autoscale:
    """Return the decision for a group of this size, at this time after the start."""
    found = parse(DaskAutoscaler, autoscaler(**spec))
    return autoscale(found, current, demand, at(seconds), per_pod=per_pod)


# Windows


def test_by_default_a_group_grows_at_once_and_shrinks_after_60_s() -> None:
    demand = wanted((0, 2), (100, 8))
    assert judged(2, demand, 100).count == 8
    demand = demand.then(1, at(200))
    assert judged(8, demand, 200).count == 8
    assert judged(8, demand, 259).count == 8
    assert judged(8, demand, 260).count == 1


def test_a_group_shrinks_to_the_maximum_demand_of_the_window() -> None:
    demand = wanted((0, 9), (100, 2), (110, 5), (120, 1))
    assert [judged(9, demand, t).count for t in (159, 160, 169, 170, 179, 180)] == [
        9,
        5,
        5,
        5,
        5,
        1,
    ]


def test_a_group_grows_to_the_minimum_demand_of_the_window() -> None:
    demand = wanted((0, 1), (100, 9), (105, 4), (110, 7))
    counts = [judged(1, demand, t, scaleUpDelaySeconds=30).count for t in (129, 130, 139, 140)]
    assert counts == [1, 4, 4, 7]


def test_a_dip_shorter_than_the_window_removes_no_worker() -> None:
    demand = wanted((0, 8), (100, 0), (159, 8))
    assert all(judged(8, demand, t).count == 8 for t in range(100, 400))


def test_a_peak_shorter_than_the_window_adds_no_worker() -> None:
    demand = wanted((0, 1), (100, 9), (129, 1))
    counts = {judged(1, demand, t, scaleUpDelaySeconds=30).count for t in range(60, 400)}
    assert counts == {1}


def test_demand_not_known_for_the_full_window_changes_nothing() -> None:
    demand = wanted((1000, 1))
    assert judged(8, demand, 1059).count == 8
    assert judged(8, demand, 1060).count == 1
    assert judged(8, demand, 1000).reason is ScalingReason.AS_FOUND
    assert judged(1, wanted((1000, 8)), 1029, scaleUpDelaySeconds=30).count == 1


def test_without_delays_the_group_follows_at_once() -> None:
    demand = wanted((0, 8), (10, 2))
    assert judged(8, demand, 10, scaleDownDelaySeconds=0).count == 2


# Bounds


@pytest.mark.parametrize(("want", "count"), [(0, 2), (1, 2), (2, 2), (3, 3), (5, 5), (50, 5)])
def test_no_count_is_below_the_minimum_or_above_the_maximum(want: int, count: int) -> None:
    demand = wanted((0, want))
    for current in range(8):
        assert judged(current, demand, 1000, minimum=2, maximum=5).count == count


def test_bounds_apply_at_once_whatever_the_windows() -> None:
    demand = wanted((0, 4))
    below = judged(1, demand, 0, minimum=3, scaleUpDelaySeconds=600)
    assert (below.count, below.reason) == (3, ScalingReason.BELOW_MINIMUM)
    above = judged(9, demand, 0, maximum=6)
    assert (above.count, above.reason) == (6, ScalingReason.ABOVE_MAXIMUM)


def test_a_group_shrinks_to_0_and_grows_again_with_demand() -> None:
    demand = wanted((0, 0))
    assert judged(3, demand, 60, minimum=0).count == 0
    assert judged(0, demand.then(1, at(70)), 70, minimum=0).count == 1
    assert judged(1, wanted((0, 5)), 60, minimum=0, maximum=0).count == 0


def test_the_largest_possible_demand_stays_within_the_maximum() -> None:
    assert judged(1, wanted((0, 10**30)), 0).count == 10


# Steps


def test_a_group_changes_by_the_maximum_step_and_reports_its_target() -> None:
    up = judged(1, wanted((0, 9)), 0, maximumStep=3)
    assert (up.count, up.desired) == (4, 9)
    down = judged(9, wanted((0, 2)), 60, maximumStep=3)
    assert (down.count, down.desired) == (6, 2)
    last = judged(8, wanted((0, 9)), 0, maximumStep=3)
    assert (last.count, last.desired) == (9, 9)


def test_the_maximum_step_does_not_keep_a_group_outside_its_bounds() -> None:
    assert judged(1, wanted((0, 9)), 0, minimum=6, maximumStep=2).count == 6
    assert judged(30, wanted((0, 9)), 60, maximum=10, maximumStep=2).count == 10


# Pods of several workers


@pytest.mark.parametrize(("workers", "pods"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_pods_of_four_workers_are_enough_for_the_wanted_workers(workers: int, pods: int) -> None:
    for current in (1, 2, 3, 9):
        assert judged(current, wanted((0, workers)), 60, per_pod=4).count == pods


# Messages


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
def test_a_decision_has_a_reason(
    current: int, want: int, spec: dict[str, int], reason: str, why: str
) -> None:
    found = judged(current, wanted((0, want)), 1000, **spec)
    assert (found.reason, found.why) == (reason, why)


# Recorded demand


def oscillating(low: int, high: int, period: int, seconds: int) -> list[tuple[float, int]]:
    """Return oscillating demand, as a scheduler reports it every 5 s."""
    return [(t, high if (t // period) % 2 == 0 else low) for t in range(0, seconds, 5)]


def test_few_levels_are_kept_of_an_hour_of_oscillation() -> None:
    demand = wanted(*oscillating(1, 9, 10, 3600))
    assert len(demand.highs) + len(demand.lows) <= 2
    falling = wanted(*((t, 5000 - t) for t in range(5000)))
    assert len(falling.highs) <= MOST_LEVELS


def test_the_kept_levels_give_every_window_the_same_result_as_the_full_history() -> None:
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


def test_merged_levels_make_a_window_longer_but_never_shorter() -> None:
    demand = wanted(*((t, 200 - t) for t in range(200)))
    for window in range(1, 199):
        most = demand.most(window, at(199))
        assert most is not None
        assert most >= 1 + window


def test_time_alone_changes_a_windows_result_only_at_the_returned_times() -> None:
    demand = wanted((0, 4), (50, 9), (70, 2), (80, 3))
    moments = {(m - START).total_seconds() for m in demand.changes(60, 30)}
    seen = [(demand.most(60, at(t)), demand.fewest(30, at(t))) for t in range(80, 300)]
    changed = {81 + i for i, (a, b) in enumerate(itertools.pairwise(seen)) if a != b}
    assert changed <= moments


def test_demand_of_a_group_is_dropped_when_the_scheduler_stops_reporting_it() -> None:
    known = demands_after({}, {"a": 3, "b": 1}, at(0))
    known = demands_after(known, {"a": 5}, at(5))
    assert set(known) == {"a"}
    assert known["a"].since == at(0)
    again = demands_after(known, {"a": 5, "b": 1}, at(10))
    assert again["b"].since == at(10)


# Oscillating load


def lived(period: int, seconds: int = 3600, **spec: Any) -> tuple[int, int]:
    """Return the numbers of pods created and deleted under such a load, starting with 1."""
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
def test_load_oscillating_faster_than_the_window_creates_8_pods_an_hour_and_deletes_none(
    period: int,
) -> None:
    assert lived(period) == (8, 0)


@pytest.mark.parametrize("period", [65, 120, 300])
def test_load_oscillating_slower_creates_and_deletes_8_pods_in_each_period(
    period: int,
) -> None:
    concurrency = 3600 // (2 * period) + 1
    created, deleted = lived(period)
    assert created <= 8 * concurrency
    assert deleted <= 8 * concurrency
    # No pod is deleted before the window ends, which bounds the number per hour.
    assert deleted <= 8 * (3600 // 60)


def test_without_a_window_the_same_load_creates_and_deletes_8_pods_in_each_period() -> None:
    created, deleted = lived(10, scaleDownDelaySeconds=0)
    assert created == 8 * 180
    assert deleted >= 8 * 179


def test_only_valid_counts_of_a_schedulers_answer_are_demand() -> None:
    targets = {"a": 3, "b": 0, "c": -1, "d": True, "e": "4", "f": None, "g": 2.5, "h": 10**30}
    assert dask_state({"target": targets}).targets == {"a": 3, "b": 0}
    assert dask_state({"target": [1]}).targets == {}
    assert dask_state({}).targets == {}
