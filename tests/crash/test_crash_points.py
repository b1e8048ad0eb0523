"""The operator is killed at any of its writes, and the end is the same (design §4).

A sample of all points is tested; ``make crash`` tests all, and
``DASKJOB_CRASH_POINTS=cancel:7-after`` one of them. ``DASKJOB_CRASH_SEED`` draws another sample.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from daskjob.kube.credentials import find_credentials
from tests.cluster.plugin import Kubernetes
from tests.crash.crashing import Point, killed, undisturbed
from tests.crash.scenarios import SCENARIOS, Scenario

#: ``all``, or one point of a scenario.
POINTS_VARIABLE = "DASKJOB_CRASH_POINTS"
SEED_VARIABLE = "DASKJOB_CRASH_SEED"
#: The number of tested points of each scenario: 77 in total.
SAMPLE = 11
#: The number of parallel stories: they mostly wait.
AT_ONCE = 3


def chosen(scenario: Scenario, writes: int) -> list[Point]:
    """Return the points to test."""
    every = [Point(n, after) for n in range(1, writes + 1) for after in (False, True)]
    match os.environ.get(POINTS_VARIABLE, "").split(":"):
        case ["all"]:
            return every
        case [_, point]:
            number, _, side = point.partition("-")
            return [Point(int(number), side == "after")]
    drawn = random.Random(f"{os.environ.get(SEED_VARIABLE, '')}{scenario.name}")
    return sorted(drawn.sample(every, SAMPLE))


def wanted(name: str) -> bool:
    """Return whether to test a scenario."""
    which = os.environ.get(POINTS_VARIABLE, "").split(":")
    return len(which) != 2 or which[0] == name


@pytest.mark.parametrize("name", SCENARIOS)
def test_end_is_the_same_wherever_the_operator_is_killed(
    name: str, with_crds: Kubernetes, fake_nodes: Callable[[int], None], tmp_path: Path
) -> None:
    if not wanted(name):
        pytest.skip(f"{POINTS_VARIABLE} chooses another scenario")
    fake_nodes(2)
    asyncio.run(_all_points(SCENARIOS[name], with_crds.kubeconfig, tmp_path))


async def _all_points(scenario: Scenario, kubeconfig: Path, folder: Path) -> None:
    access = await find_credentials(str(kubeconfig)).access()
    expected, writes = await undisturbed(scenario, access, folder / "undisturbed")
    points = chosen(scenario, writes)
    slots = asyncio.Semaphore(AT_ONCE)
    missed: list[Point] = []

    async def one(point: Point) -> None:
        async with slots:
            if not await killed(scenario, access, folder / str(point), point, expected):
                missed.append(point)

    results = await asyncio.gather(*map(one, points), return_exceptions=True)
    failed = {p: r for p, r in zip(points, results, strict=True) if isinstance(r, BaseException)}
    for point, error in failed.items():
        print(f"\n=== {POINTS_VARIABLE}={scenario.name}:{point}\n{error!r}\n{error}")
    assert not failed, f"{len(failed)} of {len(points)} points: {sorted(map(str, failed))}"
    # On a slow machine, counts are written later or combined, so some last writes may be missing.
    assert len(missed) <= len(points) // 4, f"{missed} of {writes} writes were never reached"
