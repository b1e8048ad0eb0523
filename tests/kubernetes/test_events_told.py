"""Which Events were told is known for as long as none of them is told again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from daskjob.backends.kubernetes import backend, writing
from daskjob.backends.kubernetes.api import Api
from daskjob.backends.kubernetes.cache import Cache
from daskjob.backends.kubernetes.connection import find_credentials
from daskjob.backends.kubernetes.writing import EVENT_SECONDS, Writer
from daskjob.core.decision import Event
from daskjob.core.manifests import ObjectRef
from daskjob.core.observed import Site

JOB = ObjectRef("DaskJob", "default", "sums", "uid-sums")
COMPLETED = Event("Completed", "the runner exited with code 0.")


def test_an_event_is_told_again_after_ten_minutes_and_not_remembered_for_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, told = 0.0, 0

    async def counted() -> None:
        nonlocal told
        told += 1

    def background(telling: Coroutine[object, object, None]) -> asyncio.Task[None]:
        telling.close()
        return asyncio.create_task(counted())

    async def emitted() -> int:
        await writer.emit(JOB, [COMPLETED])
        await asyncio.sleep(0)
        return told

    monkeypatch.setattr(writing, "time", SimpleNamespace(monotonic=lambda: now))
    api = Api(find_credentials())
    writer = Writer(api, Cache(), lambda _key: None, background, lambda: datetime.now(UTC))
    for now, so_often in ((0.0, 1), (EVENT_SECONDS - 1, 1), (EVENT_SECONDS, 2)):
        assert asyncio.run(emitted()) == so_often, now
    now = 2 * EVENT_SECONDS
    writer.forget_told()
    assert not writer._told


def test_events_that_were_told_are_let_go_of_by_time_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        world = backend.KubernetesBackend(Api(find_credentials()), Site())
        world._writer._told[JOB.uid, COMPLETED] = time.monotonic() - EVENT_SECONDS
        forgetting = asyncio.create_task(world._forget())
        async with asyncio.timeout(10):
            while world._writer._told:
                await asyncio.sleep(0.001)
        forgetting.cancel()

    monkeypatch.setattr(backend, "FORGET_SECONDS", 0.001)
    asyncio.run(story())
