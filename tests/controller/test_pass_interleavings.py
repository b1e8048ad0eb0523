"""Passes in random interleavings: one at a time of an object, and whatever changes is looked at.

The scheduler is the story's own: time stands still until everybody waits, and how long each
observation takes, whether it fails and what wakes which object when, is drawn at random.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from daskjob.controller.passes import Passes
from daskjob.core.errors import ApiError
from daskjob.core.manifests import Key
from daskjob.core.observed import Observed
from tests.controller import virtual_time
from tests.controller.properties import STORIES
from tests.controller.worlds import ScriptedWorld

NAMES = [Key("DaskJob", "default", name) for name in "abc"]
SECONDS = st.sampled_from([0.0, 0.0, 0.01, 0.5, 2.0, 40.0])
#: How long an observation takes, and whether the pass then succeeds, fails, or breaks.
LOOKS = st.lists(st.tuples(SECONDS, st.sampled_from(["", "", "api", "bug"])), max_size=20)
#: After how long which object changes, and for how long our last write of it is not seen.
CHANGES = st.lists(st.tuples(SECONDS, st.sampled_from(NAMES)), max_size=20)


class RandomWorld(ScriptedWorld):
    """A world whose observations are drawn, and that sees to it that no two are at once."""

    def __init__(self, looks: Iterator[tuple[float, str]]) -> None:
        super().__init__()
        self._looks = looks
        self._busy: set[Key] = set()
        #: What went wrong: an error that is raised in a pass is caught where passes are made.
        self.wrong: list[str] = []
        #: When the last observation began of each object.
        self.looked_at: defaultdict[Key, float] = defaultdict(lambda: -1.0)

    async def observe(self, key: Key) -> Observed | None:
        if key in self._busy:
            self.wrong.append(f"two passes over {key} at once")
        self._busy.add(key)
        self.looked_at[key] = virtual_time.clock()
        seconds, trouble = next(self._looks, (0.0, ""))
        try:
            await asyncio.sleep(seconds)
        finally:
            self._busy.discard(key)
        if trouble == "api":
            raise ApiError("no answer")
        if trouble == "bug":
            raise KeyError("spec")
        return None


@STORIES
@given(LOOKS, CHANGES)
def test_every_change_is_followed_by_a_pass_that_began_after_it(
    looks: list[tuple[float, str]], changes: list[tuple[float, Key]]
) -> None:
    async def tell() -> None:
        world = RandomWorld(iter(looks))
        passes = Passes(world, clock=virtual_time.clock, now=lambda: world.now)
        world.subscribe(passes.wake)
        running = asyncio.create_task(passes.run())
        changed_at: dict[Key, float] = {}
        for wait, key in changes:
            await asyncio.sleep(wait)
            changed_at[key] = virtual_time.clock()
            world.wake(key)
        # The longest wait after failures, for each observation that is left, and some more.
        await asyncio.sleep(timedelta(hours=4).total_seconds())
        for key, moment in changed_at.items():
            assert world.looked_at[key] >= moment, f"{key}: its change was lost"
        assert world.wrong == []
        assert (len(passes.queue), passes.queue.timers) == (0, 0)
        passes.stop()
        await running

    virtual_time.run(tell())
