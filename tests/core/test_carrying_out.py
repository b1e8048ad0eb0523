"""What a pass does is done, some of it at once, whatever becomes of a part of it."""

from __future__ import annotations

import asyncio
import gc

import pytest

from daskjob.backends.fake import FakeBackend
from daskjob.core.backend import STEPS_AT_ONCE, carry_out
from daskjob.core.decision import Decision, Event, Patch
from daskjob.core.errors import ApiError, Denied
from daskjob.core.manifests import Key, Manifest, ObjectRef

KEY = Key("DaskWorkerGroup", "default", "simple")
REF = ObjectRef("DaskWorkerGroup", "default", "simple")


class Gated(FakeBackend):
    """Creations wait at a gate, and are counted there."""

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


def creating(count: int) -> Decision:
    """A decision to create so many pods."""
    names = [f"p{number}" for number in range(count)]
    return Decision(create=tuple({"kind": "Pod", "metadata": {"name": name}} for name in names))


async def until_full(world: Gated) -> None:
    """Wait until as many creations are under way as may be."""
    while len(world.under_way) < STEPS_AT_ONCE:
        await asyncio.sleep(0)


def test_of_1000_pods_12_are_made_at_once_and_in_the_end_all_of_them() -> None:
    async def story() -> None:
        world = Gated()
        passing = asyncio.create_task(carry_out(world, KEY, creating(1000), REF))
        await until_full(world)
        world.gate.set()
        assert await passing
        assert (world.most, len(world.made)) == (12, 1000)

    asyncio.run(story())


def test_one_that_fails_stops_none_of_the_others_and_fails_the_pass() -> None:
    async def story() -> None:
        world = Gated(fails="p3")
        world.gate.set()
        with pytest.raises(ApiError):
            await carry_out(world, KEY, creating(100), REF)
        assert len(world.made) == 99

    asyncio.run(story())


def test_a_change_that_is_denied_is_told_on_the_object_beside_what_else_is_done() -> None:
    class Denying(FakeBackend):
        async def patch(self, patch: Patch) -> None:
            raise Denied(f"{patch.ref.name}: a policy says no")

    async def story() -> None:
        world = Denying()
        doomed = ObjectRef("DaskWorkerGroup", "default", "simple-2")
        decision = Decision(patch=(Patch(REF, {}), Patch(doomed, {})))
        with pytest.raises(Denied):
            await carry_out(world, KEY, decision, REF)
        assert [(told.ref, told.event) for told in world.events] == [
            (REF, Event("ChangeDenied", "simple: a policy says no", warning=True)),
            (REF, Event("ChangeDenied", "simple-2: a policy says no", warning=True)),
        ]

    asyncio.run(story())


def test_a_pass_that_is_given_up_makes_no_more_and_leaves_nothing_half_begun() -> None:
    async def story() -> None:
        world = Gated()
        passing = asyncio.create_task(carry_out(world, KEY, creating(100), REF))
        await until_full(world)
        passing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await passing
        world.gate.set()
        await asyncio.sleep(0)
        assert world.made == []

    asyncio.run(story())
    # A coroutine that nobody awaited warns when it is collected, and warnings are errors here.
    gc.collect()
