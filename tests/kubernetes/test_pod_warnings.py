"""Kubernetes' Events of a stuck pod reach the job's status, at no cost to other jobs."""

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

# When Events are requested


@dataclass
class Desk:
    """Warnings of pods, with answers and a clock set by the test."""

    now: datetime = START
    asked: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    message: str = 'secret "nope" not found'
    trouble: Exception | None = None
    #: Awaited by every answer.
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
            "message": self.message,
            "lastTimestamp": format_time(self.now),
        }
        return msgspec.json.encode({"items": [event] if self.message else None})

    async def look(self, *pods: PodFacts) -> list[str]:
        """Return the warnings of a pass, and let the requests be answered before the next one."""
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


async def test_events_are_requested_once_a_minute_per_pod_and_for_a_group_together() -> None:
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


async def test_requests_continue_when_the_clock_is_set_back() -> None:
    desk = Desk()
    await desk.look(worker(1))
    desk.later(-86400)
    await desk.look(worker(1))
    assert desk.asked == ["w1", "w1"]


async def test_an_expired_event_is_no_longer_reported() -> None:
    desk = Desk()
    await desk.look(worker(1))
    assert await desk.look(worker(1))
    desk.message = ""
    desk.later(60)
    await desk.look(worker(1))
    assert await desk.look(worker(1)) == []


async def test_a_failed_request_is_one_line_and_fails_no_pass(
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


async def test_events_of_a_thousand_stuck_pods_are_requested_a_few_at_a_time() -> None:
    desk = Desk(gate=asyncio.Event())
    desk.warnings.of([worker(number, f"group-{number}") for number in range(1000)])
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(desk.asked) == QUESTIONS
    assert desk.gate is not None
    desk.gate.set()
    await asyncio.gather(*desk.tasks)
    assert len(desk.answered) == 1000


async def test_nothing_is_kept_of_deleted_pods_and_owners() -> None:
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
    """Return a job with a runner that gets a node; its other pods do not."""
    manifest = job(runner=runner, backoffLimit=0)
    manifest["metadata"]["namespace"] = namespace
    spec = manifest["spec"]
    spec["job"]["spec"]["terminationGracePeriodSeconds"] = 0
    container = spec["job"]["spec"]["containers"][0]
    container.update(image=image, imagePullPolicy="IfNotPresent")
    # The kubelet ignores volumes that no container mounts.
    mounts = [{"name": v["name"], "mountPath": f"/{v['name']}"} for v in runner.get("volumes", ())]
    container["volumeMounts"] = mounts
    for template in spec["cluster"]["spec"].values():
        template["spec"]["schedulerName"] = "nobody"
    return manifest


def questions(found: Passing) -> list[Request]:
    """Return the requests for Events."""
    return found.proxy.requests("list", "events")


async def until_node_is_at_work(found: Passing, key: Key, reason: str) -> None:
    """Wait until the runner's containers wait with this reason."""
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
async def test_a_missing_volume_is_reported_on_the_job_with_the_events_message(
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
        assert questions(found) == [], "Events were requested in the first 30 s"
        found.later(31)
        await until(lambda: found.condition(key, "RunnerReady")[0] == "ConfigMissing")
        assert warnings in found.condition(key, "RunnerReady")[1]
        assert warnings in found.status(key)["message"]
        assert found.status(key)["reason"] == "ConfigMissing"
        for _ in range(5):
            found.look()
            await found.at_rest()
        (request,) = questions(found)
        assert request.query["fieldSelector"].startswith("involvedObject.uid=")
        assert request.query["fieldSelector"].endswith(",type=Warning")
        assert request.query["limit"] == "50"
        found.later(61)
        await until(lambda: len(questions(found)) == 2)
        await found.at_rest()
        assert len(questions(found)) == 2


async def test_failed_requests_for_events_fail_no_pass(
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


async def test_a_cause_in_the_pods_status_is_reported_without_requesting_events(
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
