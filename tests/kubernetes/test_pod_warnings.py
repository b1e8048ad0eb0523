"""What Kubernetes' Events say of a stuck pod reaches the job, and costs nobody else anything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from daskjob.backends.kubernetes.asking.pod_warnings import QUESTIONS, PodWarnings
from daskjob.core.errors import Forbidden
from daskjob.core.manifests import Key, Manifest, ObjectRef, format_time
from daskjob.core.pods import PodFacts
from tests.cluster.plugin import Kubernetes
from tests.cluster.proxy import Request, answer
from tests.core.manifests import job
from tests.kubernetes.passing import Passing, passing
from tests.waiting import until

START = datetime(2026, 1, 1, 12, tzinfo=UTC)

# When is asked, and when not


@dataclass
class Desk:
    """A place where questions are answered as the test says, at a time of its own."""

    now: datetime = START
    asked: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    said: str = 'secret "nope" not found'
    trouble: Exception | None = None
    #: What every answer waits for.
    gate: asyncio.Event | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.warnings = PodWarnings(self._ask, self.answered.append, self._start, lambda: self.now)

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        return task

    async def _ask(self, ref: ObjectRef) -> bytes:
        self.asked.append(ref.name)
        if self.gate is not None:
            await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble
        event = {
            "type": "Warning",
            "reason": "FailedMount",
            "message": self.said,
            "lastTimestamp": format_time(self.now),
        }
        return msgspec.json.encode({"items": [event] if self.said else None})

    async def look(self, *pods: PodFacts) -> list[str]:
        """What a pass gets to know, and what is answered by the next one."""
        found = self.warnings.of(pods)
        await asyncio.gather(*self.tasks)
        return [warnings.message for warnings in found.values()]

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def worker(number: int, group: str = "group") -> PodFacts:
    return PodFacts(ObjectRef("Pod", "default", f"w{number}", f"uid-{number}"), owner_uid=group)


async def test_a_pass_does_not_wait_for_an_answer_and_is_woken_by_it() -> None:
    desk = Desk(gate=asyncio.Event())
    assert desk.warnings.of([worker(1)]) == {}
    await asyncio.sleep(0)
    assert (desk.asked, desk.answered) == (["w1"], [])
    assert desk.gate is not None
    desk.gate.set()
    await asyncio.gather(*desk.tasks)
    assert desk.answered == ["uid-1"]
    assert await desk.look(worker(1)) == ['secret "nope" not found']


async def test_a_pod_is_asked_after_once_a_minute_and_pods_of_one_group_together() -> None:
    desk = Desk()
    for _ in range(59):
        await desk.look(worker(1))
        desk.later(1)
    await desk.look(worker(2))
    assert desk.asked == ["w1"]
    await desk.look(worker(3, "another"))
    assert desk.asked == ["w1", "w3"]
    desk.later(1)
    await desk.look(worker(2))
    assert desk.asked == ["w1", "w3", "w2"]


async def test_a_time_of_day_that_was_set_back_silences_nobody() -> None:
    desk = Desk()
    await desk.look(worker(1))
    desk.later(-86400)
    await desk.look(worker(1))
    assert desk.asked == ["w1", "w1"]


async def test_what_is_said_no_more_is_not_told_any_more() -> None:
    desk = Desk()
    await desk.look(worker(1))
    assert await desk.look(worker(1))
    desk.said = ""
    desk.later(60)
    await desk.look(worker(1))
    assert await desk.look(worker(1)) == []


async def test_a_question_that_fails_is_one_line_and_fails_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        desk = Desk()
        await desk.look(worker(1))
        desk.trouble = Forbidden('events is forbidden: User "op" cannot list resource "events"')
        desk.later(60)
        await desk.look(worker(1))
        assert await desk.look(worker(1)) == ['secret "nope" not found']
        assert desk.answered == ["uid-1"]
    (line,) = [r.getMessage() for r in caplog.records if r.name.startswith("daskjob")]
    assert "Pod default/w1" in line
    assert "events is forbidden" in line


async def test_a_thousand_stuck_pods_are_asked_after_a_few_at_a_time() -> None:
    desk = Desk(gate=asyncio.Event())
    desk.warnings.of([worker(number, f"group-{number}") for number in range(1000)])
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(desk.asked) == QUESTIONS
    assert desk.gate is not None
    desk.gate.set()
    await asyncio.gather(*desk.tasks)
    assert len(desk.answered) == 1000


async def test_nothing_is_kept_of_pods_and_owners_that_are_gone() -> None:
    desk = Desk(gate=asyncio.Event())
    desk.warnings.of([worker(1)])
    await asyncio.sleep(0)
    for uid in ("uid-1", "group"):
        desk.warnings.forget(ObjectRef("Pod", "default", uid, uid))
    assert desk.gate is not None
    desk.gate.set()
    await asyncio.gather(*desk.tasks)
    assert (desk.warnings._warnings_of, desk.warnings._asked_at, desk.answered) == ({}, {}, [])


# On a real cluster


def stuck(namespace: str, image: str, **runner: Any) -> Manifest:
    """A job of which only the runner gets a node."""
    manifest = job(runner=runner, backoffLimit=0)
    manifest["metadata"]["namespace"] = namespace
    spec = manifest["spec"]
    spec["job"]["spec"]["terminationGracePeriodSeconds"] = 0
    container = spec["job"]["spec"]["containers"][0]
    container.update(image=image, imagePullPolicy="IfNotPresent")
    # What no container mounts, no node waits for.
    mounts = [{"name": v["name"], "mountPath": f"/{v['name']}"} for v in runner.get("volumes", ())]
    container["volumeMounts"] = mounts
    for template in spec["cluster"]["spec"].values():
        template["spec"]["schedulerName"] = "nobody"
    return manifest


def questions(found: Passing) -> list[Request]:
    """The requests for Events."""
    return found.proxy.requests("list", "events")


async def until_node_is_at_work(found: Passing, key: Key, reason: str) -> None:
    """Wait until the runner's node says this of it."""
    await until(lambda: _waits_with(found, key, reason), 60)


def _waits_with(found: Passing, key: Key, reason: str) -> bool:
    runner = found.pod(key, "sums-runner")
    return runner is not None and runner.main is not None and runner.main.reason == reason


async def until_an_event_says(found: Passing, key: Key, warnings: str) -> None:
    """Wait until an Event of the runner has this text."""
    item = found.backend.cache.get("Pod", key.namespace, "sums-runner")
    assert item is not None

    async def emitted() -> bool:
        return warnings.encode() in await found.others.warnings(item.ref)

    await until(emitted, 60, pause=0.1)


@pytest.mark.parametrize(
    ("volume", "warnings"),
    [
        ({"secret": {"secretName": "nope"}}, 'secret "nope" not found'),
        ({"configMap": {"name": "nope"}}, 'configmap "nope" not found'),
    ],
    ids=["Secret", "ConfigMap"],
)
async def test_a_volume_that_cannot_be_had_is_told_of_the_job_in_the_words_of_an_event(
    volume: Manifest, warnings: str, with_crds: Kubernetes, namespace: str
) -> None:
    async with passing(with_crds, namespace) as found:
        key = Key("DaskJob", namespace, "sums")
        volumes = [{"name": "data", **volume}]
        await found.others.create(stuck(namespace, "nowhere.invalid/no", volumes=volumes))
        await until_node_is_at_work(found, key, "ContainerCreating")
        await until_an_event_says(found, key, warnings.replace('"', '\\"'))
        found.look()
        await found.at_rest()
        assert questions(found) == [], "nobody is asked after for the first 30 s"
        found.later(31)
        await until(lambda: found.condition(key, "RunnerReady")[0] == "ConfigMissing")
        assert warnings in found.condition(key, "RunnerReady")[1]
        assert warnings in found.status(key)["message"]
        assert found.status(key)["reason"] == "ConfigMissing"
        for _ in range(5):
            found.look()
            await found.at_rest()
        (asked,) = questions(found)
        assert asked.query["fieldSelector"].startswith("involvedObject.uid=")
        assert asked.query["fieldSelector"].endswith(",type=Warning")
        assert asked.query["limit"] == "50"
        found.later(61)
        await until(lambda: len(questions(found)) == 2)
        await found.at_rest()
        assert len(questions(found)) == 2


async def test_an_api_server_that_does_not_tell_its_events_fails_no_pass(
    with_crds: Kubernetes, namespace: str
) -> None:
    async with passing(with_crds, namespace) as found:
        key = Key("DaskJob", namespace, "sums")
        rule = found.proxy.on(answer(503), verb="list", resource="events", times=None)
        volumes = [{"name": "data", "secret": {"secretName": "nope"}}]
        await found.others.create(stuck(namespace, "nowhere.invalid/no", volumes=volumes))
        await until_node_is_at_work(found, key, "ContainerCreating")
        await until_an_event_says(found, key, "nope")
        found.later(31)
        await until(lambda: len(questions(found)) == 1)
        await found.at_rest()
        assert found.passes.queue.failing == 0
        assert found.condition(key, "RunnerReady")[0] == "Starting"
        rule.end()
        found.later(61)
        await until(lambda: found.condition(key, "RunnerReady")[0] == "ConfigMissing")


async def test_what_the_pods_status_tells_is_told_without_asking_for_an_event(
    with_crds: Kubernetes, namespace: str
) -> None:
    image = with_crds.image("dask")

    async with passing(with_crds, namespace) as found:
        key = Key("DaskJob", namespace, "sums")
        manifest = stuck(namespace, image)
        runner = manifest["spec"]["job"]["spec"]["containers"][0]
        runner["envFrom"] = [{"configMapRef": {"name": "nope"}}]
        await found.others.create(manifest)
        await until_node_is_at_work(found, key, "CreateContainerConfigError")
        await until(lambda: found.condition(key, "RunnerReady")[0] == "ConfigMissing")
        assert 'configmap "nope" not found' in found.condition(key, "RunnerReady")[1]
        found.later(31)
        await found.at_rest()
        assert questions(found) == []
