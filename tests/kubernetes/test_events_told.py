"""Which Events were told is known for as long as none of them is told again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime

import pytest

from daskjob.backends.kubernetes import backend
from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.writing import told_events
from daskjob.backends.kubernetes.writing.told_events import EVENT_SECONDS, ToldEvents
from daskjob.backends.kubernetes.writing.writer import Writer
from daskjob.core.decision import Event
from daskjob.core.manifests import ObjectRef
from daskjob.core.observed import Platform
from daskjob.kube.api import Api
from daskjob.kube.credentials import find_credentials
from tests.kubernetes.given import pod, seen

JOB = ObjectRef("DaskJob", "default", "sums", "uid-sums")
COMPLETED = Event("Completed", "the runner exited with code 0.")
FAILED = Event("Failed", "the runner exited with code 1.")


def test_an_event_is_told_again_after_ten_minutes() -> None:
    now = 0.0
    told = ToldEvents(clock=lambda: now)
    for now, news in ((0.0, [COMPLETED]), (EVENT_SECONDS - 1, []), (EVENT_SECONDS, [COMPLETED])):
        assert told.news("uid-sums", [COMPLETED, COMPLETED]) == news, now


async def test_writer_tells_an_event_once() -> None:
    told: list[object] = []

    def background(telling: Coroutine[object, object, None]) -> asyncio.Task[None]:
        told.append(telling)
        telling.close()
        return asyncio.create_task(asyncio.sleep(0))

    api = Api(find_credentials())
    writer = Writer(api, Cache(), lambda _key: None, background, lambda: datetime.now(UTC))
    await writer.emit(JOB, [COMPLETED])
    await writer.emit(JOB, [COMPLETED, FAILED])
    assert len(told) == 2


def test_other_words_and_other_objects_are_news() -> None:
    told = ToldEvents()
    told.news("uid-sums", [COMPLETED])
    assert told.news("uid-sums", [COMPLETED, FAILED]) == [FAILED]
    assert told.news("uid-sums", [COMPLETED, FAILED]) == []
    assert told.news("uid-other", [COMPLETED]) == [COMPLETED]


def test_what_may_be_told_again_is_not_remembered() -> None:
    now = 0.0
    told = ToldEvents(clock=lambda: now)
    told.news("uid-sums", [COMPLETED])
    now = EVENT_SECONDS - 1
    told.tidy()
    assert len(told) == 1
    now = EVENT_SECONDS
    told.tidy()
    assert len(told) == 0


async def test_events_that_were_told_are_let_go_of_by_time_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backend, "FORGET_SECONDS", 0.001)
    monkeypatch.setattr(told_events, "EVENT_SECONDS", 0.0)
    world = backend.KubernetesBackend(Api(find_credentials()), Platform())
    world._writer.told.news("uid-sums", [COMPLETED])
    forgetting = asyncio.create_task(world._forget())
    async with asyncio.timeout(10):
        while len(world._writer.told):
            await asyncio.sleep(0.001)
    forgetting.cancel()


def test_events_of_an_object_that_is_gone_are_let_go_of_with_it() -> None:
    world = backend.KubernetesBackend(Api(find_credentials()), Platform())
    found = seen(pod("sums", "default"), 1)
    world.cache.put(found)
    world._writer.told.news(found.ref.uid, [COMPLETED])
    world.cache.remove(found.ref)
    assert len(world._writer.told) == 0
