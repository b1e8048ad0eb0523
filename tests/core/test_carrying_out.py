"""A pass carries out all its steps, partly in parallel, even if some of them fail."""

from __future__ import annotations

import asyncio
import gc

import pytest

from daskjob.backends.fake import FakeBackend
from daskjob.core.concurrency import (
    AFTERWARDS_SECONDS,
    SMALL_STEPS,
    STEPS_ALONE,
    STEPS_GIVING_WAY,
    PassConcurrency,
)
from daskjob.core.decision import Decision, Event, Patch
from daskjob.core.errors import ApiError, ChangeDenied, Forbidden
from daskjob.core.manifests import Key, Manifest, ObjectRef
from daskjob.core.names import LABEL_CLUSTER_NAME
from daskjob.core.reconcile import carry_out

KEY = Key("DaskWorkerGroup", "default", "simple")
REF = ObjectRef("DaskWorkerGroup", "default", "simple")


class Gated(FakeBackend):
    """A backend whose creates wait at a gate and are counted there."""

    def __init__(self, fails: str = "") -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.fails = fails
        self.under_way: set[str] = set()
        self.most = 0
        self.made: list[str] = []

    async def create(self, owner: Key, manifest: Manifest) -> None:
        del owner
        name = manifest["metadata"]["name"]
        self.under_way.add(name)
        self.most = max(self.most, len(self.under_way))
        await self.gate.wait()
        self.under_way.remove(name)
        if name == self.fails:
            raise ApiError(500, "no")
        self.made.append(name)

    def open_once(self) -> None:
        """Let the waiting creates through, but no later ones."""
        gate, self.gate = self.gate, asyncio.Event()
        gate.set()


def creating(count: int, cluster: str = "big") -> Decision:
    """Return a decision to create a number of pods of a cluster."""
    labels = {LABEL_CLUSTER_NAME: cluster}
    names = [f"{cluster}-{number}" for number in range(count)]
    pods = ({"kind": "Pod", "metadata": {"name": name, "labels": labels}} for name in names)
    return Decision(create=tuple(pods))


async def made(
    world: FakeBackend, decision: Decision, concurrency: PassConcurrency | None = None
) -> bool:
    """Carry out a decision."""
    return await carry_out(world, KEY, decision, REF, concurrency or PassConcurrency())


async def until_full(world: Gated, count: int = STEPS_ALONE) -> None:
    """Wait until this number of creates are running, and no more begin."""
    while len(world.under_way) != count:
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(world.under_way) == count


async def test_1000_pods_are_created_32_at_a_time() -> None:
    world = Gated()
    passing = asyncio.create_task(made(world, creating(1000)))
    await until_full(world)
    world.gate.set()
    assert await passing
    assert (world.most, len(world.made)) == (STEPS_ALONE, 1000)


async def test_a_big_pass_gives_way_to_a_small_one_and_briefly_after_it() -> None:
    now = 0.0
    big, small, concurrency = Gated(), Gated(), PassConcurrency(lambda: now)
    passing = asyncio.create_task(made(big, creating(1000), concurrency))
    await until_full(big)
    parallel = asyncio.create_task(made(small, creating(SMALL_STEPS, "small"), concurrency))
    # All creates of the small one run at once.
    await until_full(small, SMALL_STEPS)
    big.open_once()
    await until_full(big, STEPS_GIVING_WAY)
    small.gate.set()
    await parallel
    now = AFTERWARDS_SECONDS - 0.1
    big.open_once()
    await until_full(big, STEPS_GIVING_WAY)
    now = AFTERWARDS_SECONDS
    big.open_once()
    await until_full(big)
    big.gate.set()
    await passing
    assert len(set(big.made)) == len(big.made) == 1000
    assert big.most == STEPS_ALONE


def test_big_passes_give_way_only_to_small_ones_that_create_objects_of_another_cluster() -> None:
    concurrency = PassConcurrency(lambda: 0.0)
    small = ((SMALL_STEPS + 1, "a"), (0, "a"), (SMALL_STEPS, "big"))
    for objects, cluster in small:
        with concurrency.creating(objects, cluster):
            assert concurrency.at_once(1000, "big") == STEPS_ALONE
    assert concurrency.at_once(1000, "big") == STEPS_ALONE
    with concurrency.creating(SMALL_STEPS, "a"):
        assert concurrency.at_once(1000, "big") == STEPS_GIVING_WAY
        assert concurrency.at_once(SMALL_STEPS, "b") == STEPS_ALONE


def test_no_record_is_kept_of_clusters_once_passes_stop_giving_way_to_them() -> None:
    now = 0.0
    concurrency = PassConcurrency(lambda: now)
    for number in range(500):
        with concurrency.creating(SMALL_STEPS, f"c-{number}"):
            now += AFTERWARDS_SECONDS / 2
        assert concurrency.remembered <= 3


async def test_a_failed_step_stops_no_other_and_fails_the_pass() -> None:
    world = Gated(fails="big-3")
    world.gate.set()
    with pytest.raises(ApiError):
        await made(world, creating(100))
    assert len(world.made) == 99


async def test_a_denied_change_is_an_event_of_its_object_and_the_other_steps_are_done() -> None:
    class Denying(FakeBackend):
        async def patch(self, patch: Patch) -> None:
            raise ChangeDenied(f"{patch.ref.name}: a policy denies it")

    world = Denying()
    doomed = ObjectRef("DaskWorkerGroup", "default", "simple-2")
    decision = Decision(patch=(Patch(REF, {}), Patch(doomed, {})))
    with pytest.raises(ChangeDenied):
        await made(world, decision)
    assert [(emitted.ref, emitted.event) for emitted in world.events] == [
        (REF, Event("ChangeDenied", "simple: a policy denies it", warning=True)),
        (REF, Event("ChangeDenied", "simple-2: a policy denies it", warning=True)),
    ]


@pytest.mark.parametrize("what", ["create", "patch", "delete"])
async def test_a_missing_permission_is_one_event_of_the_object(what: str) -> None:
    class Lacking(FakeBackend):
        async def create(self, *_: object) -> None:
            raise Forbidden("cannot create")

        async def patch(self, *_: object) -> None:
            raise Forbidden("cannot patch")

        async def delete(self, *_: object) -> None:
            raise Forbidden("cannot delete")

    world = Lacking()
    decisions = {
        "create": creating(3),
        "patch": Decision(patch=(Patch(REF, {}), Patch(REF, {}))),
        "delete": Decision(delete=(REF,)),
    }
    with pytest.raises(Forbidden):
        await made(world, decisions[what])
    assert [(emitted.ref, emitted.event) for emitted in world.events] == [
        (REF, Event("Forbidden", f"cannot {what}", warning=True))
    ]


async def test_a_cancelled_pass_begins_no_more_steps_and_leaves_none_half_begun() -> None:
    world = Gated()
    passing = asyncio.create_task(made(world, creating(100)))
    await until_full(world)
    passing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await passing
    world.gate.set()
    await asyncio.sleep(0)
    assert world.made == []
    # A coroutine never awaited warns when it is garbage collected, and warnings are errors here.
    gc.collect()
