"""The loop of passes: it sleeps while nothing changes, and survives failed passes."""

from __future__ import annotations

import asyncio
import logging

import pytest

from daskjob.backends.fake import FakeBackend
from daskjob.backends.passes import SerialPasses
from daskjob.core.errors import ApiError
from daskjob.core.manifests import Key
from daskjob.core.observed import Observed

GONE = Key("DaskCluster", "default", "gone")


class Failing(FakeBackend):
    """A backend in which the first pass over an object fails, and then the object is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds = 0

    def subjects(self) -> list[Key]:
        self.rounds += 1
        return [GONE] if self.rounds == 1 else []

    async def observe(self, key: Key) -> Observed | None:
        raise ApiError(f"{key.name} cannot be seen")


async def test_object_that_is_gone_does_not_keep_the_loop_awake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = Failing()

    with caplog.at_level(logging.WARNING), pytest.raises(TimeoutError):
        await asyncio.wait_for(SerialPasses(world).run(lambda: False), 0.5)
    assert world.rounds <= 3
    assert "gone cannot be seen; trying again in" in caplog.text
