"""Leader election: one leader at a time; it stops in time, and a standby takes over in time."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daskjob.controller.lease import (
    TERM,
    AllLeases,
    Alone,
    Leadership,
    LeaseApi,
    LeaseHolder,
    holder,
    may_take,
    released,
    sighted,
    taken,
)
from daskjob.core.errors import ApiError, Forbidden
from daskjob.core.manifests import Manifest
from tests.controller import virtual_time
from tests.controller.properties import STORIES
from tests.controller.worlds import LeaseStore, Line

L = TypeVar("L", bound=Leadership)

pytestmark = pytest.mark.virtual_time

NOW = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def lease(identity: str = "other", version: str = "1", **spec: object) -> Manifest:
    return {
        "metadata": {"name": "daskjob-operator", "namespace": "ns", "resourceVersion": version},
        "spec": {"holderIdentity": identity, "leaseDurationSeconds": 15, **spec},
    }


def one(leases: LeaseApi, identity: str, namespace: str = "kube-system") -> LeaseHolder:
    return LeaseHolder(leases, namespace, identity, clock=virtual_time.clock, now=lambda: NOW)


@contextlib.asynccontextmanager
async def operator(lead: L) -> AsyncIterator[L]:
    """Run an operator that leads whenever it can, until the block ends; then kill it."""

    async def live() -> None:
        while True:
            await lead.acquire()
            await lead.keep()

    task = asyncio.create_task(live())
    try:
        yield lead
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
def leases() -> LeaseStore:
    return LeaseStore()


@pytest.fixture
def me(leases: LeaseStore) -> contextlib.AbstractAsyncContextManager[LeaseHolder]:
    """An operator that runs during the test."""
    return operator(one(leases, "me"))


async def seconds_until(true: Callable[[], bool], longest: float = 120.0) -> float:
    """Let time pass until the condition is true; return the seconds it took."""
    started = virtual_time.clock()
    while not true():
        await asyncio.sleep(0.05)
        assert virtual_time.clock() - started < longest, "it never becomes true"
    return virtual_time.clock() - started


# The content of a Lease


def test_first_holder_creates_the_lease_in_kubernetes_format() -> None:
    made = taken(None, "ns", "me", TERM, NOW)
    assert made == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "daskjob-operator", "namespace": "ns"},
        "spec": {
            "holderIdentity": "me",
            "leaseDurationSeconds": 15,
            "acquireTime": "2026-01-01T12:00:00.250000Z",
            "renewTime": "2026-01-01T12:00:00.250000Z",
            "leaseTransitions": 0,
        },
    }


def test_renewal_changes_only_the_time() -> None:
    before = taken(None, "ns", "me", TERM, NOW)
    after = taken(before, "ns", "me", TERM, NOW + timedelta(seconds=10))
    assert after["spec"] == {**before["spec"], "renewTime": "2026-01-01T12:00:10.250000Z"}


def test_new_holder_adds_a_transition_and_keeps_foreign_fields() -> None:
    before = lease("other", leaseTransitions=3, acquireTime="then")
    before["metadata"]["labels"] = {"team": "a"}
    after = taken(before, "ns", "me", TERM, NOW)
    assert after["metadata"] == before["metadata"]
    assert after["spec"]["leaseTransitions"] == 4
    assert after["spec"]["acquireTime"] == "2026-01-01T12:00:00.250000Z"


def test_released_lease_has_no_holder() -> None:
    left = released(lease("me"), NOW)
    assert holder(left) == ""
    assert may_take(left, "you", None, 0.0)


@pytest.mark.parametrize(
    ("there", "seen_for", "free"),
    [
        (None, 0.0, True),
        (lease("me"), 0.0, True),
        (lease(""), 0.0, True),
        (lease("other"), 14.9, False),
        (lease("other"), 15.0, True),
        (lease("other", leaseDurationSeconds=60), 15.0, False),
        (lease("other", leaseDurationSeconds="nonsense"), 15.0, True),
    ],
)
def test_lease_can_be_taken_when_it_is_free_or_expired(
    there: Manifest | None, seen_for: float, free: bool
) -> None:
    sighting = sighted(there, None, 100.0) if there else None
    assert may_take(there, "me", sighting, 100.0 + seen_for) is free


def test_renewed_lease_counts_from_when_it_was_seen_whatever_its_renew_time() -> None:
    first = sighted(lease(version="1", renewTime="2026"), None, 100.0)
    assert sighted(lease(version="1", renewTime="2026"), first, 110.0).since == 100.0
    assert sighted(lease(version="2", renewTime="1970"), first, 110.0).since == 110.0


# One operator


async def test_free_lease_is_taken_at_once_with_two_requests_and_renewed_every_10_s(
    leases: LeaseStore, me: LeaseHolder
) -> None:
    assert await seconds_until(me.held) < 0.1
    assert len(leases.requests) == 2
    await asyncio.sleep(600)
    assert me.held()
    assert leases.holder() == "me"
    assert 58 <= len(leases.requests) - 2 <= 60


async def test_operator_that_cannot_renew_stops_leading_before_others_can_take_over(
    leases: LeaseStore, me: LeaseHolder
) -> None:
    await seconds_until(me.held)
    await asyncio.sleep(10.5)
    leases.trouble = ApiError("503")
    assert 2.0 < await seconds_until(lambda: not me.held()) <= 13.0
    leases.trouble = None
    assert await seconds_until(me.held) <= 5.0


async def test_short_outage_at_a_renewal_does_not_lose_the_lead(
    leases: LeaseStore, me: LeaseHolder
) -> None:
    await seconds_until(me.held)
    await asyncio.sleep(9.9)
    leases.trouble = ApiError("503")
    await asyncio.sleep(1.5)
    leases.trouble = None
    for _ in range(100):
        await asyncio.sleep(0.1)
        assert me.held()


async def test_request_without_an_answer_does_not_extend_the_lead(
    leases: LeaseStore, me: LeaseHolder
) -> None:
    await seconds_until(me.held)
    leases.seconds = 3600.0
    await seconds_until(lambda: not me.held(), 14.0)
    leases.seconds = 0.0
    assert await seconds_until(me.held) <= 10.0


async def test_process_that_was_stopped_for_a_minute_does_not_lead_when_it_continues() -> None:
    me = one(LeaseStore(), "me")
    await me.acquire()
    assert me.held()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, virtual_time.VirtualLoop)
    loop.now += 60.0
    assert not me.held()


async def test_lease_annotated_by_another_client_is_still_ours(
    leases: LeaseStore, me: LeaseHolder
) -> None:
    await seconds_until(me.held)
    where, there = next(iter(leases.leases.items()))
    leases.leases[where] = {
        **there,
        "metadata": {**there["metadata"], "resourceVersion": "x", "labels": {"a": "b"}},
    }
    for _ in range(300):
        await asyncio.sleep(0.1)
        assert me.held()


async def test_deleted_lease_is_created_again(leases: LeaseStore, me: LeaseHolder) -> None:
    await seconds_until(me.held)
    leases.leases.clear()
    for _ in range(300):
        await asyncio.sleep(0.1)
        assert me.held()
    assert leases.holder() == "me"


async def test_lease_taken_by_another_holder_is_lost_at_the_next_renewal(
    leases: LeaseStore, me: LeaseHolder
) -> None:
    await seconds_until(me.held)
    where, there = next(iter(leases.leases.items()))
    stolen = taken(there, "kube-system", "thief", TERM, NOW)
    stolen["metadata"] = {**stolen["metadata"], "resourceVersion": "x"}
    leases.leases[where] = stolen
    assert await seconds_until(lambda: not me.held()) <= 10.1


async def test_missing_permission_is_logged_once_and_retried(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        leases = LeaseStore()
        leases.trouble = Forbidden("leases is forbidden: ... cannot get")
        me = one(leases, "me")
        async with operator(me):
            await asyncio.sleep(60)
            assert not me.held()
            leases.trouble = None
            assert await seconds_until(me.held) <= 4.1
    logged = [
        r.getMessage() for r in caplog.records if "cannot be read or written" in r.getMessage()
    ]
    assert len(logged) == 1
    assert "leases is forbidden" in logged[0]


async def test_container_restarted_in_its_pod_need_not_wait(leases: LeaseStore) -> None:
    async with operator(one(leases, "pod_uid-1")):
        await asyncio.sleep(1)
    again = one(leases, "pod_uid-1")
    async with operator(again):
        assert await seconds_until(again.held) < 0.1


# Two operators


@pytest.mark.parametrize("age", [0.1, 3.0, 6.0, 9.9, 11.0])
async def test_standby_takes_over_within_20_s_of_the_leaders_death(
    leases: LeaseStore, age: float
) -> None:
    first = _Life(leases, "first")
    await asyncio.sleep(1)
    second = _Life(leases, "second")
    await asyncio.sleep(100 + age)
    assert (first.lead.held(), second.lead.held()) == (True, False)
    await first.die()
    assert await seconds_until(second.lead.held) <= 20.0
    await second.die()


async def test_standby_takes_over_within_5_s_of_the_leaders_exit(leases: LeaseStore) -> None:
    me, you = one(leases, "me"), one(leases, "you")
    async with operator(me):
        await asyncio.sleep(1)
        async with operator(you):
            await asyncio.sleep(30)
            assert me.held()
            await me.release()
            assert not me.held()
            assert await seconds_until(you.held) <= 5.0


async def test_standby_logs_the_leader_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        leases = LeaseStore()
        async with operator(one(leases, "me")):
            await asyncio.sleep(1)
            async with operator(one(leases, "you")):
                await asyncio.sleep(300)
        assert len(leases.requests) < 300 / 4 + 300 / 10 + 10
    expected = "standby: Lease kube-system/daskjob-operator is held by me"
    assert [r.getMessage() for r in caplog.records] == [expected]


#: Faults of an operator or of the API server, each with its duration.
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(
            ["kill a", "kill b", "end a", "end b", "cut a", "cut b", "api away", "api slow", "wait"]
        ),
        st.sampled_from([0.1, 1.0, 5.0, 11.0, 14.0, 17.0, 40.0]),
    ),
    max_size=8,
)


@STORIES
@given(EVENTS)
def test_two_operators_never_lead_at_once_whatever_fails_and_whenever(
    events: list[tuple[str, float]],
) -> None:
    async def story() -> None:
        leases = LeaseStore()
        lives = {"a": _Life(leases, "a"), "b": _Life(leases, "b")}
        checking = asyncio.create_task(_never_two(lives))
        for what, seconds in events:
            verb, _, name = what.partition(" ")
            if verb == "kill":
                await lives[name].die()
            elif verb == "end":
                await lives[name].die(release=True)
            elif verb == "cut":
                lives[name].line.cut = True
            elif what == "api away":
                leases.trouble = ApiError("503")
            elif what == "api slow":
                leases.seconds = 4.0
            await asyncio.sleep(seconds)
            leases.trouble, leases.seconds = None, 0.0
            for life in lives.values():
                life.line.cut = False
            if verb in ("kill", "end"):
                lives[name].begin()
        await asyncio.sleep(40)
        assert sum(life.lead.held() for life in lives.values()) == 1
        assert not checking.done()
        checking.cancel()
        for life in lives.values():
            await life.die()

    virtual_time.run(story())


class _Life:
    """One operator, which is killed and restarted as another process."""

    def __init__(self, leases: LeaseStore, name: str) -> None:
        self._leases = leases
        self._name = name
        self._starts = 0
        self.begin()

    def begin(self) -> None:
        self._starts += 1
        self.line = Line(self._leases)
        self.lead = one(self.line, f"{self._name}-{self._starts}")
        self._task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        while True:
            await self.lead.acquire()
            await self.lead.keep()

    async def die(self, *, release: bool = False) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        if release:
            await self.lead.release()
        self.lead = one(self._leases, "dead")


async def _never_two(lives: dict[str, _Life]) -> None:
    while True:
        assert sum(life.lead.held() for life in lives.values()) <= 1, "two lead at once"
        await asyncio.sleep(0.2)


# Several namespaces


async def test_operator_of_two_namespaces_leads_when_it_holds_both_leases(
    leases: LeaseStore,
) -> None:
    ours = AllLeases([one(leases, "me", "a"), one(leases, "me", "b")])
    theirs = one(leases, "you", "b")
    async with operator(theirs):
        await asyncio.sleep(1)
        async with operator(ours):
            await asyncio.sleep(60)
            assert leases.holder("a") == "me"
            assert not ours.held()
            await theirs.release()
            assert await seconds_until(ours.held) <= 5.0
            await asyncio.sleep(100)
            assert ours.held()
            await ours.release()
            assert (leases.holder("a"), leases.holder("b")) == ("", "")


async def test_two_operators_of_overlapping_namespaces_do_not_deadlock() -> None:
    leases = LeaseStore()
    me = AllLeases([one(leases, "me", name) for name in ("a", "b")])
    you = AllLeases([one(leases, "you", name) for name in ("a", "b")])
    async with operator(me), operator(you):
        for _ in range(1000):
            await asyncio.sleep(0.1)
            assert not (me.held() and you.held())
        assert me.held() or you.held()


async def test_operator_without_a_lease_leads_from_start_to_end() -> None:
    alone = Alone()
    await alone.acquire()
    assert alone.held()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await alone.keep()
    await alone.release()
