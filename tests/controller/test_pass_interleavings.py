"""Passes in random interleavings: one at a time per object, and every change is followed by one.

In virtual time, with random durations and failures of observations, and random changes of objects.
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
#: The duration of an observation, and whether the pass then succeeds, fails, or has a bug.
LOOKS = st.lists(st.tuples(SECONDS, st.sampled_from(["", "", "api", "bug"])), max_size=20)
#: Delay, object, and for how long the object's last write of ours stays unobserved.
CHANGES = st.lists(st.tuples(SECONDS, st.sampled_from(NAMES)), max_size=20)


class RandomWorld(ScriptedWorld):
    """A backend with random observations, which checks that no two of an object overlap."""

    def __init__(self, looks: Iterator[tuple[float, str]]) -> None:
        super().__init__()
        self._looks = looks
        self._busy: set[Key] = set()
        #: Errors found: one raised in a pass would be caught by the loop of passes.
        self.wrong: list[str] = []
        #: When the last observation of each object began.
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
    async def story() -> None:
        world = RandomWorld(iter(looks))
        passes = Passes(world, clock=virtual_time.clock, now=lambda: world.now)
        world.subscribe(passes.wake)
        running = asyncio.create_task(passes.run())
        changed_at: dict[Key, float] = {}
        for wait, key in changes:
            await asyncio.sleep(wait)
            changed_at[key] = virtual_time.clock()
            world.wake(key)
        # The longest wait after failures, for each remaining observation, and a margin.
        await asyncio.sleep(timedelta(hours=4).total_seconds())
        for key, moment in changed_at.items():
            assert world.looked_at[key] >= moment, f"{key}: its change was lost"
        assert world.wrong == []
        assert (len(passes.queue), passes.queue.timers) == (0, 0)
        passes.stop()
        await running

    virtual_time.run(story())
