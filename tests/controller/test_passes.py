"""The loop of passes: failures affect only their object, and each object has one pass at a time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from daskjob.controller.passes import PASS_SECONDS, PASSES_AT_ONCE, Passes
from daskjob.core.concurrency import STEPS_ALONE, STEPS_GIVING_WAY
from daskjob.core.errors import ApiError, ChangeDenied, Forbidden
from daskjob.core.manifests import Key, Manifest, object_ref
from daskjob.core.observed import Observed
from tests.controller import virtual_time
from tests.controller.worlds import ScriptedWorld
from tests.core import manifests

pytestmark = pytest.mark.virtual_time

GOOD, BAD = Key("DaskJob", "default", "good"), Key("DaskJob", "default", "bad")


@contextlib.asynccontextmanager
async def passes_over(world: ScriptedWorld) -> AsyncIterator[Passes]:
    """Make passes over a backend during the block."""
    passes = Passes(world, clock=virtual_time.clock, now=lambda: world.now)
    world.subscribe(passes.wake)
    task = asyncio.create_task(passes.run())
    try:
        yield passes
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
def world() -> ScriptedWorld:
    return ScriptedWorld()


@pytest.fixture
def passes(world: ScriptedWorld) -> contextlib.AbstractAsyncContextManager[Passes]:
    """The passes over ``world``, during the test."""
    return passes_over(world)


def seconds(world: ScriptedWorld, key: Key = BAD) -> list[int]:
    return [round(moment) for moment in world.times(key)]


def fails_with(error: Exception, *keys: Key) -> Callable[[Key], None]:
    def before(key: Key) -> None:
        if key in (keys or (BAD,)):
            raise error

    return before


# Passes


async def test_job_runs_from_creation_to_end_and_then_has_no_passes(
    world: ScriptedWorld, passes: Passes
) -> None:
    key = world.submit(manifests.job("good"))
    for _ in range(5):
        await asyncio.sleep(1)
        world.start_all()
    world.exit(world.pod("good-runner"), 0)
    await asyncio.sleep(1)
    assert world.job_status(key).job_status == "Successful"
    await asyncio.sleep(60)
    for _ in range(3):
        world.kubelet()
        await asyncio.sleep(10)
    writes = len(world.writes)
    assert (len(passes.queue), passes.queue.timers) == (0, 0)
    await asyncio.sleep(86400)
    assert len(world.writes) == writes


async def test_objects_that_exist_at_the_start_get_a_pass(world: ScriptedWorld) -> None:
    world.submit(manifests.job("good"))
    async with passes_over(world):
        await asyncio.sleep(1)
    assert "create DaskCluster/good" in world.writes


@pytest.mark.usefixtures("passes")
async def test_pass_is_made_at_its_wake_time_without_a_change(world: ScriptedWorld) -> None:
    key = world.submit(manifests.job("good", activeDeadlineSeconds=100))
    for _ in range(5):
        await asyncio.sleep(1)
        world.start_all()
    await asyncio.sleep(90)
    assert not world.job_status(key).finished
    await asyncio.sleep(10)
    assert world.job_status(key).reason == "DeadlineExceeded"


@pytest.mark.usefixtures("passes")
async def test_every_object_gets_a_pass_within_10_minutes_even_if_events_are_lost(
    world: ScriptedWorld,
) -> None:
    for number in range(20):
        world.submit(manifests.cluster(f"c{number}"))
    # Counts are written 5 s after the start, for all of these at once.
    await asyncio.sleep(20)
    world.observed.clear()
    await asyncio.sleep(1205)
    keys = {key for _, key in world.observed}
    assert set(world.subjects()) <= keys
    moments = [at for at, _ in world.observed]
    assert max(moments.count(moment) for moment in set(moments)) <= 4


async def test_16_passes_run_at_a_time_and_one_per_object() -> None:
    class Slow(ScriptedWorld):
        def __init__(self) -> None:
            super().__init__()
            self.busy: list[Key] = []
            self.most = 0
            self.twice = False

        async def observe(self, key: Key) -> Observed | None:
            self.twice = self.twice or key in self.busy
            self.busy.append(key)
            self.most = max(self.most, len(self.busy))
            await asyncio.sleep(1)
            self.busy.remove(key)
            return None

    world = Slow()
    async with passes_over(world) as passes:
        for tick in range(40):
            for number in range(50):
                passes.wake(Key("DaskJob", "default", f"j{number}"))
            await asyncio.sleep(0.1 * (tick % 3))
        await asyncio.sleep(60)
        assert (world.most, world.twice) == (PASSES_AT_ONCE, False)
        assert len(passes.queue) == 0


async def test_a_big_pass_does_not_delay_a_job_created_meanwhile() -> None:
    class Slow(ScriptedWorld):
        def __init__(self) -> None:
            super().__init__()
            self.under_way: Counter[Key] = Counter()

        async def create(self, owner: Key, manifest: Manifest) -> None:
            self.under_way[owner] += 1
            await asyncio.sleep(0.1)
            self.under_way[owner] -= 1
            await super().create(owner, manifest)

    world, group = Slow(), Key("DaskWorkerGroup", "default", "simple-default")

    async with passes_over(world):
        world.submit(manifests.cluster(**manifests.cluster_spec(replicas=1000)))
        await asyncio.sleep(1)
        assert world.under_way[group] == STEPS_ALONE
        world.submit(manifests.job("good"))
        await asyncio.sleep(0.5)
        assert world.under_way[group] == STEPS_GIVING_WAY
        await asyncio.sleep(1.5)
        assert world.under_way[group] == STEPS_ALONE


async def test_other_namespaces_get_no_passes(world: ScriptedWorld) -> None:
    passes = Passes(
        world, clock=virtual_time.clock, now=lambda: world.now, covers=lambda n: n != "default"
    )
    world.submit(manifests.job("good"))
    task = asyncio.create_task(passes.run())
    passes.wake(GOOD)
    await asyncio.sleep(1)
    passes.stop()
    await task
    assert world.observed == []


# Failures


@pytest.mark.parametrize("error", [ApiError("no answer"), KeyError("spec"), RecursionError("deep")])
@pytest.mark.usefixtures("passes")
async def test_error_of_any_kind_fails_only_its_object(
    world: ScriptedWorld, error: Exception
) -> None:
    world.before_pass = fails_with(error)
    world.submit(manifests.job("bad"))
    good = world.submit(manifests.job("good"))
    for _ in range(5):
        await asyncio.sleep(1)
        world.start_all()
    assert world.job_status(good).job_status == "Running"
    # Every start of a pod changes the bad job's cluster: it is tried at most once a second.
    moments = world.times(BAD)
    assert all(later - earlier >= 1.0 for earlier, later in itertools.pairwise(moments))
    assert len(moments) <= 4


@pytest.mark.usefixtures("passes")
async def test_object_whose_status_cannot_be_written_is_tried_less_and_less_often(
    world: ScriptedWorld,
) -> None:
    world.before_pass = fails_with(Forbidden("daskjobs/status is forbidden"))
    world.submit(manifests.job("bad"))
    await asyncio.sleep(3 * 3600)
    early = [moment for moment in seconds(world) if moment < 60]
    late = [moment for moment in seconds(world) if moment > 2 * 3600]
    # At 0, 1, 3, 7, 15, and then every 10 s: nine where chance never lengthens a wait.
    assert len(early) <= 9
    assert len(late) <= 2 * 6  # by its backoff, and by the pass every 10 minutes


@pytest.mark.usefixtures("passes")
async def test_object_whose_change_is_denied_is_tried_for_a_minute_and_then_ever_more_rarely(
    world: ScriptedWorld,
) -> None:
    """6 times an hour later on: a policy that denies all patches is no outage."""

    world.before_pass = fails_with(ChangeDenied("Pod bad-runner: denied by a policy"))
    world.submit(manifests.job("bad"))
    await asyncio.sleep(3 * 3600)
    assert len([moment for moment in seconds(world) if 80 < moment < 900]) <= 5
    late = [moment for moment in seconds(world) if moment > 2 * 3600]
    assert len(late) <= 2 * 6  # by its backoff, and by the pass every 10 minutes


@pytest.mark.usefixtures("passes")
async def test_all_continue_within_15_s_of_the_end_of_a_10_minute_outage(
    world: ScriptedWorld,
) -> None:
    world.before_pass = fails_with(ApiError("503"), BAD, GOOD)
    keys = [world.submit(manifests.job(name)) for name in ("bad", "good")]
    await asyncio.sleep(600)
    world.before_pass = lambda _key: None
    await asyncio.sleep(15)
    assert [str(world.job_status(key).job_status) for key in keys] == ["ClusterCreated"] * 2


@pytest.mark.usefixtures("passes")
async def test_a_permission_granted_after_5_minutes_is_used_within_15_s(
    world: ScriptedWorld,
) -> None:
    world.before_pass = fails_with(Forbidden("pods is forbidden"))
    key = world.submit(manifests.job("bad"))
    await asyncio.sleep(300)
    world.before_pass = lambda _key: None
    await asyncio.sleep(15)
    assert world.job_status(key).job_status == "ClusterCreated"


@pytest.mark.usefixtures("passes")
async def test_failure_is_one_line_with_the_object_and_the_next_try(
    world: ScriptedWorld, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        world.before_pass = fails_with(ApiError("Pod default/bad: the API server answered 500"))
        world.submit(manifests.job("bad"))
        await asyncio.sleep(0.5)
    (record,) = caplog.records
    message = "Pod default/bad: the API server answered 500; trying again in 1 s"
    assert (record.getMessage(), record.__dict__["key"]) == (message, BAD)


@pytest.mark.usefixtures("passes")
async def test_bug_is_logged_with_its_place(
    world: ScriptedWorld, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        world.before_pass = fails_with(KeyError("spec"))
        world.submit(manifests.job("bad"))
        await asyncio.sleep(0.5)
    (record,) = caplog.records
    assert "the pass failed: KeyError: 'spec' (" in record.getMessage()
    assert "test_passes.py:" in record.getMessage()
    assert record.exc_info is not None


async def test_hanging_pass_is_cancelled_after_5_minutes(
    world: ScriptedWorld, passes: Passes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        world.hold = asyncio.Event()
        key = world.submit(manifests.job("good"))
        await asyncio.sleep(PASS_SECONDS - 1)
        assert passes.queue.failing == 0
        world.hold.set()
        world.hold = None
        await asyncio.sleep(1)
        assert world.job_status(key).started
        world.hold = asyncio.Event()
        world.wake(key)
        await asyncio.sleep(PASS_SECONDS + 0.5)
        assert passes.queue.failing == 1
    assert "took more than 300 s and was cancelled; trying again in" in caplog.text


async def test_loop_that_breaks_and_restarts_loses_no_object(world: ScriptedWorld) -> None:
    passes = Passes(world, clock=virtual_time.clock, now=lambda: world.now)
    world.subscribe(passes.wake)
    world.submit(manifests.job("good"))
    world.hold = asyncio.Event()
    task = asyncio.create_task(passes.run())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.wait([task])
    world.hold = None
    task = asyncio.create_task(passes.run())
    await asyncio.sleep(1)
    assert world.job_status(GOOD).started
    passes.stop()
    await task


async def test_broken_cache_fails_only_the_observed_object() -> None:
    class Broken(ScriptedWorld):
        async def observe(self, key: Key) -> Observed | None:
            if key == BAD:
                raise KeyError("version")
            found: Observed | None = await super().observe(key)
            return found

    world = Broken()
    async with passes_over(world) as passes:
        world.submit(manifests.job("bad"))
        good = world.submit(manifests.job("good"))
        await asyncio.sleep(0.5)
        assert world.job_status(good).started
        assert passes.queue.failing == 1


async def test_running_passes_finish_and_no_other_begins(world: ScriptedWorld) -> None:
    world.submit(manifests.job("good"))
    world.hold = asyncio.Event()
    passes = Passes(world, clock=virtual_time.clock, now=lambda: world.now)
    task = asyncio.create_task(passes.run())
    await asyncio.sleep(1)
    world.submit(manifests.job("bad"))
    passes.wake(BAD)
    passes.stop()
    await asyncio.sleep(1)
    assert not task.done()
    world.hold.set()
    await task
    assert world.job_status(GOOD).started
    assert world.times(BAD) in ([], [1.0])


async def test_cancelled_loop_leaves_no_task(world: ScriptedWorld) -> None:
    world.submit(manifests.job("good"))
    world.hold = asyncio.Event()
    async with passes_over(world):
        await asyncio.sleep(1)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_clusters_created_and_deleted_leave_nothing(
    world: ScriptedWorld, passes: Passes
) -> None:
    keys = [world.submit(manifests.cluster(f"c{number}")) for number in range(20)]
    await asyncio.sleep(2)
    assert len(world.subjects()) == 40
    for key in keys:
        item = world.store.get(key)
        assert item is not None
        world.store.delete(object_ref(item))
    for _ in range(5):
        world.kubelet()
        await asyncio.sleep(60)
    assert world.subjects() == []
    await asyncio.sleep(7200)
    assert (len(passes.queue), passes.queue.timers) == (0, 0)


@pytest.mark.usefixtures("passes")
async def test_deadline_is_at_most_10_minutes_late_when_the_clock_is_set_forward(
    world: ScriptedWorld,
) -> None:
    key = world.submit(manifests.job("good", activeDeadlineSeconds=3600))
    for _ in range(5):
        await asyncio.sleep(1)
        world.start_all()
    world.now = world._base + timedelta(hours=2)
    await asyncio.sleep(601)
    assert world.job_status(key).reason == "DeadlineExceeded"
