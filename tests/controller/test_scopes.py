"""An operator of several namespaces: what happens in one of them stops nothing in the others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from daskjob.controller.leader_only import NotLeading
from daskjob.core.errors import ApiError, Forbidden
from daskjob.core.manifests import Key, Manifest
from tests.controller.test_operator import Story, messages
from tests.controller.worlds import ScriptedWorld
from tests.core import manifests

pytestmark = pytest.mark.virtual_time

A, B = "team-a", "team-b"
BOTH = ("-n", A, "-n", B)
DENIED = Forbidden('leases.coordination.k8s.io is forbidden: User "operator" cannot get')


def job(namespace: str, name: str = "sums") -> Manifest:
    made = manifests.job(name)
    return {**made, "metadata": {**made["metadata"], "namespace": namespace}}


def key(namespace: str, name: str = "sums") -> Key:
    return Key("DaskJob", namespace, name)


def lease_of_another(namespace: str) -> Manifest:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"namespace": namespace, "name": "daskjob-operator"},
        "spec": {"holderIdentity": "mallory", "leaseDurationSeconds": 2**31 - 1},
    }


@pytest.fixture
def story() -> contextlib.AbstractAsyncContextManager[Story]:
    return _of_two()


@contextlib.asynccontextmanager
async def _of_two() -> AsyncIterator[Story]:
    """A story of two namespaces, after which nothing runs any more."""
    story = Story()
    for namespace in (A, B):
        story.world.add(namespace)
    yield story
    assert asyncio.all_tasks() == {asyncio.current_task()}, "something still runs"


@dataclass(frozen=True)
class Trouble:
    """What is wrong in namespace B: from the start, or from a moment at which it is led."""

    begins: Callable[[ScriptedWorld], object]
    ends: Callable[[ScriptedWorld], object]
    #: B's line of the readiness probe meanwhile.
    state: str = "standby"
    from_the_start: bool = True


def _deny(world: ScriptedWorld) -> None:
    world.leases.troubles[B] = DENIED
    world.silent[B] = 700.0


def _allow(world: ScriptedWorld) -> None:
    world.leases.troubles.clear()
    world.silent[B] = 0.0
    world.first_lists[B].set()


def _deny_lists(world: ScriptedWorld) -> None:
    _deny(world)
    world.first_lists[B].clear()


def _hold_lease(world: ScriptedWorld) -> None:
    world.leases.leases[B, "daskjob-operator"] = lease_of_another(B)


def _take_lease(world: ScriptedWorld) -> None:
    taken = lease_of_another(B)
    taken["metadata"]["resourceVersion"] = "taken"
    world.leases.leases[B, "daskjob-operator"] = taken


def _drop_lease(world: ScriptedWorld) -> None:
    world.leases.leases.pop((B, "daskjob-operator"))


def _answer_nonsense(world: ScriptedWorld) -> None:
    world.leases.troubles[B] = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


TROUBLES = {
    "permissions are deleted": Trouble(_deny, _allow, from_the_start=False),
    "permissions are missing": Trouble(_deny_lists, _allow, "the first lists are not complete"),
    "the Lease is taken": Trouble(_take_lease, _drop_lease, from_the_start=False),
    "the Lease is held": Trouble(_hold_lease, _drop_lease),
    "the Lease cannot be decoded": Trouble(_answer_nonsense, _allow),
    "the Lease cannot be decoded any more": Trouble(_answer_nonsense, _allow, from_the_start=False),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
async def test_trouble_of_one_namespace_for_10_minutes_stops_only_its_own_jobs(
    story: Story, trouble: Trouble
) -> None:
    world = story.world
    if trouble.from_the_start:
        trouble.begins(world)
    async with story.operator(*BOTH) as operator:
        await asyncio.sleep(1)
        if not trouble.from_the_start:
            trouble.begins(world)
            await asyncio.sleep(20)
        for namespace in (A, B):
            world.submit(job(namespace))
        await story.run_job()
        assert world.job_status(key(A)).job_status == "Running"
        for _ in range(60):
            await asyncio.sleep(10)
            assert operator.healthz().code == 200
            assert operator.readyz().code == 200
            assert operator.readyz().text == f"{A}: leader\n{B}: {trouble.state}\n"
        assert not world.job_status(key(B)).started
        text = operator.numbers().text
        assert "\ndaskjob_leader 1\n" in text
        assert f'daskjob_namespace_leader{{watched_namespace="{A}"}} 1\n' in text
        assert f'daskjob_namespace_leader{{watched_namespace="{B}"}} 0\n' in text
        synced = int(trouble.state == "standby")
        assert f'daskjob_namespace_synced{{watched_namespace="{B}"}} {synced}\n' in text
        world.exit(world.pod("sums-runner", A), 0)
        await asyncio.sleep(1)
        assert world.job_status(key(A)).finished

        trouble.ends(world)
        await asyncio.sleep(40)
        assert operator.readyz().text == f"{A}: leader\n{B}: leader\n"
        assert world.job_status(key(B)).started


async def test_missing_permission_in_one_namespace_is_logged_with_its_name_and_rarely(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        _deny_lists(story.world)
        async with story.operator(*BOTH):
            await asyncio.sleep(3600)
    waiting = messages(caplog).count(f"still waiting for the first lists of namespace {B}")
    assert 3 <= waiting <= 15
    assert not [line for line in messages(caplog) if "first lists" in line and A in line]


async def test_writes_and_passes_stop_only_where_the_lead_is_lost(story: Story) -> None:
    world = story.world
    async with story.operator(*BOTH) as operator:
        for namespace in (A, B):
            world.submit(job(namespace))
        await story.run_job()
        assert 'daskjob_jobs{phase="Running",reason=""} 2\n' in operator.numbers().text
        _deny(world)
        await asyncio.sleep(20)
        assert 'daskjob_jobs{phase="Running",reason=""} 1\n' in operator.numbers().text
        world.check(A)
        for elsewhere in (B, "team-c"):
            with pytest.raises(NotLeading):
                world.check(elsewhere)
        seen = len(world.times(key(B)))
        world.wake(key(A), key(B))
        await asyncio.sleep(700)
        assert len(world.times(key(B))) == seen
        assert max(world.times(key(A))) > 600


async def test_all_leases_are_released_at_the_end(story: Story) -> None:
    async with story.operator(*BOTH):
        await asyncio.sleep(1)
        assert [story.world.leases.holder(name) for name in (A, B)] == ["me", "me"]
    assert [story.world.leases.holder(name) for name in (A, B)] == ["", ""]
    assert story.ended_in < 0.1


async def test_idle_operator_renews_one_lease_for_each_namespace_and_asks_for_nothing_else(
    story: Story,
) -> None:
    async with story.operator(*BOTH):
        await asyncio.sleep(60)
        before = len(story.world.leases.requests)
        await asyncio.sleep(3600)
        requests = story.world.leases.requests[before:]
    assert len(requests) <= 2 * 361
    assert set(requests) == {f"update {name}/daskjob-operator" for name in (A, B)}


async def test_two_operators_of_overlapping_namespaces_lead_what_is_free(story: Story) -> None:
    async with story.operator("-n", A, "-n", B, name="first") as first:
        await asyncio.sleep(1)
        async with story.operator("-n", B, "-n", "team-c", name="second") as second:
            await asyncio.sleep(60)
            assert first.readyz().text == f"{A}: leader\n{B}: leader\n"
            assert second.readyz().text == f"{B}: standby\nteam-c: leader\n"
            first.end()
            await asyncio.sleep(5)
            assert second.readyz().text == f"{B}: leader\nteam-c: leader\n"


async def test_watches_of_one_namespace_that_fail_are_restarted_alone(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    story.world.broken[B] = KeyError("kind")
    async with story.operator(*BOTH):
        await asyncio.sleep(5)
    lines = [line for line in messages(caplog) if "restarting" in line]
    assert lines == [f"the watches of namespace {B} failed: KeyError: 'kind'; restarting in 1 s"]


# Health


async def test_operator_is_alive_while_any_namespace_is_answered(story: Story) -> None:
    async with story.operator(*BOTH) as operator:
        await asyncio.sleep(1)
        story.world.unanswered[B] = 500.0
        assert operator.healthz().code == 200
        story.world.unanswered[A] = 130.0
        assert operator.healthz().code == 503


async def test_operator_is_ready_when_the_first_namespace_is_listed(story: Story) -> None:
    for name in (A, B):
        story.world.first_lists[name].clear()
    async with story.operator(*BOTH) as operator:
        await asyncio.sleep(1)
        assert operator.readyz().code == 503
        story.world.first_lists[B].set()
        await asyncio.sleep(1)
        assert operator.readyz().code == 200


# The Lease of an operator of all namespaces


@pytest.mark.parametrize("error", [ValueError("no UTF-8"), KeyError("spec"), ApiError("<html>")])
async def test_lease_that_cannot_be_read_ends_no_operator(story: Story, error: Exception) -> None:
    world = story.world
    async with story.operator() as operator:
        await asyncio.sleep(1)
        for _ in range(3):
            world.leases.trouble = error
            await asyncio.sleep(60)
            assert operator.readyz().text == "standby\n"
            world.leases.trouble = None
            await asyncio.sleep(40)
            assert operator.readyz().text == "leader\n"
