"""Recently emitted Events are recorded until they may be emitted again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime

import pytest

from daskjob.backends.background import BackgroundTasks
from daskjob.backends.kubernetes import backend
from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.writing import recent_events
from daskjob.backends.kubernetes.writing.recent_events import EVENT_SECONDS, RecentEvents
from daskjob.backends.kubernetes.writing.writer import EVENT_WAITS, Writer
from daskjob.core.decision import Event
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.core.observed import Platform
from daskjob.kube.api import Api
from daskjob.kube.credentials import find_credentials
from tests.kubernetes.given import pod, seen

JOB = ObjectRef("DaskJob", "default", "sums", "uid-sums")
COMPLETED = Event("Completed", "the runner exited with code 0.")
FAILED = Event("Failed", "the runner exited with code 1.")


def test_an_event_is_emitted_again_after_ten_minutes() -> None:
    now = 0.0
    recent = RecentEvents(clock=lambda: now)
    for now, new in ((0.0, [COMPLETED]), (EVENT_SECONDS - 1, []), (EVENT_SECONDS, [COMPLETED])):
        assert recent.record_new("uid-sums", [COMPLETED, COMPLETED]) == new, now


async def test_writer_emits_an_event_once() -> None:
    emitted: list[object] = []

    def background(emitting: Coroutine[object, object, None]) -> asyncio.Task[None]:
        emitted.append(emitting)
        emitting.close()
        return asyncio.create_task(asyncio.sleep(0))

    api = Api(find_credentials())
    writer = Writer(api, Cache(), lambda _key: None, background, lambda: datetime.now(UTC))
    await writer.emit(JOB, [COMPLETED])
    await writer.emit(JOB, [COMPLETED, FAILED])
    assert len(emitted) == 2


def test_other_messages_and_other_objects_are_new() -> None:
    recent = RecentEvents()
    recent.record_new("uid-sums", [COMPLETED])
    assert recent.record_new("uid-sums", [COMPLETED, FAILED]) == [FAILED]
    assert recent.record_new("uid-sums", [COMPLETED, FAILED]) == []
    assert recent.record_new("uid-other", [COMPLETED]) == [COMPLETED]


def test_events_that_may_be_emitted_again_are_discarded() -> None:
    now = 0.0
    recent = RecentEvents(clock=lambda: now)
    recent.record_new("uid-sums", [COMPLETED])
    now = EVENT_SECONDS - 1
    recent.tidy()
    assert len(recent) == 1
    now = EVENT_SECONDS
    recent.tidy()
    assert len(recent) == 0


async def test_old_events_are_discarded_by_time_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backend, "FORGET_SECONDS", 0.001)
    monkeypatch.setattr(recent_events, "EVENT_SECONDS", 0.0)
    world = backend.KubernetesBackend(Api(find_credentials()), Platform())
    world._writer.recent_events.record_new("uid-sums", [COMPLETED])
    forgetting = asyncio.create_task(world._forget())
    async with asyncio.timeout(10):
        while len(world._writer.recent_events):
            await asyncio.sleep(0.001)
    forgetting.cancel()


def test_events_of_a_deleted_object_are_discarded() -> None:
    world = backend.KubernetesBackend(Api(find_credentials()), Platform())
    found = seen(pod("sums", "default"), 1)
    world.cache.put(found)
    world._writer.recent_events.record_new(found.ref.uid, [COMPLETED])
    world.cache.remove(found.ref)
    assert len(world._writer.recent_events) == 0


class _Rejecting:
    """An API server that rejects some Events, and then takes them."""

    def __init__(self, rejected: int) -> None:
        self.rejected = rejected
        self.tried: list[str] = []

    async def emit(self, event: Manifest) -> bool:
        self.tried.append(event["metadata"]["name"])
        return len(self.tried) <= self.rejected


@pytest.mark.parametrize(("rejected", "tries"), [(0, 1), (3, 4), (100, len(EVENT_WAITS) + 1)])
async def test_an_event_that_was_rejected_is_emitted_again_for_a_minute(
    rejected: int, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    api = _Rejecting(rejected)
    background = BackgroundTasks()
    writer = Writer(
        api,  # type: ignore[arg-type]
        Cache(),
        lambda _key: None,
        background.start,
        lambda: datetime.now(UTC),
    )
    with monkeypatch.context() as patched:
        patched.setattr("daskjob.backends.kubernetes.writing.writer.asyncio.sleep", sleep)
        await writer.emit(JOB, [COMPLETED])
        await asyncio.gather(*background._tasks)
    assert len(api.tried) == tries
    assert len(set(api.tried)) == 1, "another name would be another Event"
    assert sum(waited) <= 60
