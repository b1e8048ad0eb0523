"""The operator is killed at any of its writes, and the end is the same (design §4).

A sample of all points is tested; ``make crash`` tests all, and
``DASKJOB_CRASH_POINTS=cancel:7-after`` one of them. ``DASKJOB_CRASH_SEED`` draws another sample.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from daskjob.kube.access import Access
from daskjob.kube.credentials import find_credentials
from tests.cluster.plugin import Kubernetes
from tests.crash.crashing import Point, killed, undisturbed
from tests.crash.scenarios import SCENARIOS, Scenario
from tests.operator.history import NotThere
from tests.operator.staged import assert_succeeded

#: ``all``, or one point of a scenario.
POINTS_VARIABLE = "DASKJOB_CRASH_POINTS"
SEED_VARIABLE = "DASKJOB_CRASH_SEED"
#: The number of tested points of each scenario: 77 in total.
SAMPLE = 11
#: The number of parallel stories, of all scenarios: they mostly wait.
AT_ONCE = 4


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


@dataclass
class Outcome:
    """How the stories of one scenario ended."""

    points: list[Point] = field(default_factory=list)
    #: Those that the operator did not reach.
    missed: list[Point] = field(default_factory=list)
    failed: dict[Point, BaseException] = field(default_factory=dict)
    #: That of the story without a crash, after which there are no others.
    error: BaseException | None = None


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, with_crds: Kubernetes, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Outcome]:
    """The outcomes of the scenarios that tests of this run need."""
    with_crds.provider.fake_nodes(2)
    tests = {item.name for item in request.session.items}
    needed = [name for name in SCENARIOS if wanted(name) and any(f"[{name}]" in t for t in tests)]
    folder = tmp_path_factory.mktemp("crash")
    return asyncio.run(_side_by_side(needed, with_crds.kubeconfig, folder))


@pytest.mark.parametrize("name", SCENARIOS)
def test_end_is_the_same_wherever_the_operator_is_killed(
    name: str, outcomes: dict[str, Outcome]
) -> None:
    if not wanted(name):
        pytest.skip(f"{POINTS_VARIABLE} chooses another scenario")
    found = outcomes[name]
    assert_succeeded(found.error)
    for point, error in found.failed.items():
        print(f"\n=== {POINTS_VARIABLE}={name}:{point}\n{error!r}\n{error}")
    many = len(found.points)
    assert not found.failed, f"{len(found.failed)} of {many} points: {[*map(str, found.failed)]}"
    # On a slow machine, counts are written later or combined, so some last writes may be missing.
    assert len(found.missed) <= many // 4, f"{found.missed} of {many} points were never reached"


async def _side_by_side(names: Sequence[str], kubeconfig: Path, folder: Path) -> dict[str, Outcome]:
    access = await find_credentials(str(kubeconfig)).access()
    slots = asyncio.Semaphore(AT_ONCE)
    runs = (_all_points(SCENARIOS[name], access, folder / name, slots) for name in names)
    return dict(zip(names, await asyncio.gather(*runs), strict=True))


async def _all_points(
    scenario: Scenario, access: Access, folder: Path, slots: asyncio.Semaphore
) -> Outcome:
    outcome = Outcome()
    try:
        async with slots:
            expected, writes = await undisturbed(scenario, access, folder / "undisturbed")
    except (AssertionError, NotThere, TimeoutError) as error:
        outcome.error = error
        return outcome

    async def one(point: Point) -> None:
        async with slots:
            if not await killed(scenario, access, folder / str(point), point, expected):
                outcome.missed.append(point)

    outcome.points = chosen(scenario, writes)
    results = await asyncio.gather(*map(one, outcome.points), return_exceptions=True)
    pairs = zip(outcome.points, results, strict=True)
    outcome.failed = {p: r for p, r in pairs if isinstance(r, BaseException)}
    return outcome
