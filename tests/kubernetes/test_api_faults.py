"""The outcome of one request when the server or the connection to it fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from aiohttp import web

from daskjob.backends.kubernetes.watching.items import Item, ItemDecoder
from daskjob.backends.kubernetes.watching.kinds import PODS
from daskjob.controller.leader_only import NotLeading
from daskjob.core.errors import ApiError, Forbidden, NotFound
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.kube.access import Access
from daskjob.kube.api import CONNECTIONS, Api
from daskjob.kube.errors import (
    AlreadyExists,
    OutcomeUnknown,
    Throttled,
    Unanswered,
    UnexpectedObject,
    Unreachable,
)
from daskjob.kube.leases import Leases
from daskjob.kube.limiter import Limiter
from tests.cluster import proxy as faults
from tests.cluster.proxy import Fault, Passage, answer
from tests.kubernetes.given import KEY, Cluster, Plain, Side, pod, side_of
from tests.waiting import until

#: Transient failures.
PASSING: dict[str, Fault] = {
    "408": answer(408),
    "429": answer(429),
    "500": answer(500),
    "502": answer(502),
    "503": answer(503),
    "504": answer(504),
    "reset": faults.reset(),
    "lost answer": faults.lose_answer(),
}
#: Permanent failures.
FINAL: dict[str, Fault] = {
    "400": answer(400),
    "403": answer(403, 'pods is forbidden: User "x" cannot patch resource "pods"', "Forbidden"),
    "404": answer(404, 'pods "one" not found', "NotFound", details={"name": "one"}),
    "405": answer(405),
    "409": answer(409, "the object has been modified", "Conflict"),
    "422": answer(422, "no", "Invalid", details={"causes": [{"field": "spec"}]}),
}


async def one(found: Side, namespace: str) -> Item:
    """Create a pod."""
    return ItemDecoder(PODS).item(await found.api.create(pod("one", namespace)))


def lease(namespace: str) -> Manifest:
    """Return the Lease of the leader election."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "lead", "namespace": namespace},
        "spec": {"holderIdentity": "me"},
    }


def writes(found: Side, item: Item) -> dict[str, Callable[[], Awaitable[bytes]]]:
    """The idempotent requests."""
    return {
        "get": lambda: found.api.get(item.ref),
        "patch": lambda: found.api.patch(item.ref, {"metadata": {"labels": {"a": "b"}}}),
        "delete": lambda: found.api.delete(item.ref),
    }


@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("verb", ["get", "patch"])
async def test_idempotent_requests_are_repeated_until_they_succeed(
    side: Side, verb: str, fault: str, namespace: str
) -> None:
    item = await one(side, namespace)
    rule = side.proxy.on(PASSING[fault], verb=verb, times=2)
    changed = ItemDecoder(PODS).item(await writes(side, item)[verb]())
    assert changed.ref == item.ref
    assert rule.hits == 2


@pytest.mark.parametrize("fault", PASSING)
async def test_a_delete_with_a_lost_answer_is_found_to_have_happened(
    side: Side, fault: str, namespace: str
) -> None:
    item = await side.writes.create(KEY, pod("one", namespace))
    side.proxy.on(PASSING[fault], verb="delete", times=2)
    if fault == "lost answer":
        with pytest.raises(NotFound):
            await side.writes.delete(item.ref)
    else:
        await side.writes.delete(item.ref)
    assert side.cache.of_uid(item.ref.uid) is None
    assert await side.writes.look(item.ref) is None


@pytest.mark.parametrize("fault", FINAL)
async def test_permanent_failures_are_not_retried(side: Side, fault: str, namespace: str) -> None:
    item = await one(side, namespace)
    side.proxy.on(FINAL[fault], verb="patch", times=None)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - other tests pin the type
        await writes(side, item)["patch"]()
    assert isinstance(caught.value, ApiError) or not caught.value.retryable  # type: ignore[attr-defined]
    assert len(side.proxy.requests("patch")) == 1


# Creations


@pytest.mark.parametrize("fault", ["500", "503", "504", "reset", "lost answer"])
async def test_a_create_of_unknown_outcome_is_not_repeated_but_reported(
    side: Side, fault: str, namespace: str
) -> None:
    side.proxy.on(PASSING[fault], verb="create", times=None)
    with pytest.raises(OutcomeUnknown):
        await side.api.create(pod("one", namespace))
    assert len(side.proxy.requests("create")) == 1


async def test_a_throttled_create_had_no_effect_and_is_repeated(side: Side, namespace: str) -> None:
    side.proxy.on(answer(429), verb="create", times=2)
    await side.api.create(pod("one", namespace))
    assert len(side.proxy.requests("create")) == 3


async def test_a_create_that_was_never_sent_is_repeated() -> None:
    codes: list[int] = []
    nowhere = Plain(Access("http://127.0.0.1:9"))
    async with Api(nowhere, budget_seconds=1, on_request=lambda *a: codes.append(a[2])) as api:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1"):
            await api.create(pod("one", "default"))
    assert len(codes) > 1
    assert set(codes) == {0}


async def test_a_create_of_unknown_outcome_that_happened_is_settled_under_its_name(
    side: Side, namespace: str
) -> None:
    side.proxy.on(faults.lose_answer(), verb="create")
    with pytest.raises(OutcomeUnknown):
        await side.writes.create(KEY, pod("one", namespace))
    assert side.writes.unsettled.unsettled(KEY)
    await side.writes.settle(KEY)
    assert not side.writes.unsettled.unsettled(KEY)
    assert side.names == {"one"}
    requests = [(r.verb, r.code) for r in side.proxy.seen]
    assert requests == [("create", 0), ("create", 409), ("get", 200)]


async def test_a_create_of_unknown_outcome_that_did_not_happen_is_repeated_later(
    side: Side, namespace: str
) -> None:
    rule = side.proxy.on(faults.reset(), verb="create", times=2)
    with pytest.raises(OutcomeUnknown):
        await side.writes.create(KEY, pod("one", namespace))
    with pytest.raises(OutcomeUnknown):
        await side.writes.settle(KEY)
    assert side.writes.unsettled.unsettled(KEY)
    await side.writes.settle(KEY)
    assert not side.writes.unsettled.unsettled(KEY)
    assert side.names == {"one"}
    assert rule.hits == 2


async def test_a_create_that_is_rejected_when_repeated_may_have_happened_before(
    side: Side, namespace: str
) -> None:
    side.proxy.on(faults.lose_answer(), verb="create")
    full = 'pods "one" is forbidden: exceeded quota: few, requested: pods=1, used: pods=1'
    side.proxy.on(answer(403, full, "Forbidden"), verb="create")
    with pytest.raises(OutcomeUnknown):
        await side.writes.create(KEY, pod("one", namespace))
    await side.writes.settle(KEY)
    assert not side.writes.unsettled.unsettled(KEY)
    assert side.names == {"one"}


async def test_a_create_with_a_malformed_or_abandoned_answer_is_settled_too(
    side: Side, namespace: str
) -> None:
    side.proxy.on(answer(200, "not what was asked for"), verb="create")
    with pytest.raises(UnexpectedObject):
        await side.writes.create(KEY, pod("one", namespace))
    assert side.writes.unsettled.unsettled(KEY)
    side.proxy.on(faults.hang(), verb="create")
    settling = asyncio.create_task(side.writes.settle(KEY))
    await until(lambda: len(side.proxy.requests("create")) == 2)
    settling.cancel()
    await asyncio.gather(settling, return_exceptions=True)
    assert side.writes.unsettled.unsettled(KEY)
    await side.writes.settle(KEY)
    assert not side.writes.unsettled.unsettled(KEY)
    assert side.names == {"one"}


# Credentials


async def test_a_401_renews_the_credentials_once_and_sends_the_same_again(
    side: Side, namespace: str
) -> None:
    side.proxy.on(answer(401), verb="create")
    await side.api.create(pod("one", namespace))
    assert side.credentials.renewals == 1
    first, second = side.proxy.requests("create")
    assert first.body == second.body


async def test_a_second_401_is_an_error(side: Side, namespace: str) -> None:
    side.proxy.on(answer(401, "Unauthorized"), times=None)
    with pytest.raises(ApiError, match="Unauthorized"):
        await side.api.get(ObjectRef("Pod", namespace, "one"))
    assert (side.credentials.renewals, len(side.proxy.seen)) == (1, 2)


async def test_a_missing_permission_is_not_retried(side: Side, namespace: str) -> None:
    side.proxy.on(FINAL["403"], times=None)
    with pytest.raises(Forbidden):
        await side.api.get(ObjectRef("Pod", namespace, "one"))
    assert len(side.proxy.seen) == 1


# Time


async def test_a_request_to_a_silent_server_times_out(kubernetes: Cluster, namespace: str) -> None:
    async with side_of(kubernetes, try_seconds=0.2, budget_seconds=0.5) as found:
        found.proxy.on(faults.hang(), times=None)
        started = time.monotonic()
        with pytest.raises(Unanswered, match="did not answer in time"):
            await found.api.get(ObjectRef("Pod", namespace, "one"))
        assert time.monotonic() - started < 2
        with pytest.raises(OutcomeUnknown):
            await found.api.create(pod("one", namespace))


async def test_a_request_fails_after_a_few_tries(kubernetes: Cluster, namespace: str) -> None:
    async with side_of(kubernetes, budget_seconds=1) as found:
        found.proxy.on(answer(503, "starting"), times=None)
        started = time.monotonic()
        with pytest.raises(Unanswered, match="starting"):
            await found.api.get(ObjectRef("Pod", namespace, "one"))
        assert time.monotonic() - started < 3
        assert 2 <= len(found.proxy.seen) <= 5


async def test_no_request_is_sent_before_the_servers_retry_after(
    side: Side, namespace: str
) -> None:
    item = await one(side, namespace)
    side.proxy.on(answer(429, retry_after=1), verb="get", times=1)
    got = asyncio.create_task(side.api.get(item.ref))
    await until(lambda: side.proxy.requests("get"))
    throttled_at = side.proxy.requests("get")[0].at
    await asyncio.gather(got, writes(side, item)["patch"]())
    later = [r.at for r in side.proxy.seen if r.at > throttled_at]
    assert len(later) == 2
    assert min(later) - throttled_at >= 1


async def test_a_retry_after_beyond_the_remaining_time_is_reported(
    side: Side, namespace: str
) -> None:
    side.proxy.on(answer(429, retry_after=3600), times=None)
    with pytest.raises(Throttled) as caught:
        await side.api.get(ObjectRef("Pod", namespace, "one"))
    assert caught.value.retry_after == 3600
    assert len(side.proxy.seen) == 1


# The lead


class Lead:
    """The lead of an operator, which may be lost while a write waits for the rate limiter."""

    held = True

    def check(self) -> None:
        if not self.held:
            raise NotLeading("this operator leads no longer, and writes nothing")


CHANGES = ["create", "patch", "status", "delete"]


def change(found: Side, item: Item, namespace: str) -> dict[str, Callable[[], Awaitable[object]]]:
    """The writes."""
    return {
        **writes(found, item),
        "create": lambda: found.writes.create(KEY, pod("two", namespace)),
        "status": lambda: found.api.replace_status(item.ref, {"phase": "Running"}),
    }


async def test_a_lease_is_renewed_while_a_thousand_pods_wait_to_be_created(
    kubernetes: Cluster, namespace: str
) -> None:
    """Behind them it would come too late, and the operator would lose the lead."""

    async with side_of(kubernetes, limiter=Limiter(rate=10)) as found:
        found.proxy.on(faults.hang(), verb="create", resource="pods", times=None)
        pods = [pod(f"one-{n}", namespace) for n in range(1000)]
        made = [asyncio.create_task(found.api.create(manifest)) for manifest in pods]
        await until(lambda: len(found.proxy.requests("create", "pods")) >= CONNECTIONS)
        async with asyncio.timeout(5):
            await Leases(found.api).create(lease(namespace))
        assert not any(task.done() for task in made)
        for task in made:
            task.cancel()
        await asyncio.gather(*made, return_exceptions=True)


@pytest.mark.parametrize("verb", CHANGES)
async def test_a_write_delayed_by_the_limiter_is_not_sent_when_the_lead_was_lost_meanwhile(
    verb: str, kubernetes: Cluster, namespace: str
) -> None:
    lead = Lead()
    async with side_of(kubernetes, before_write=lead.check) as found:
        item = await one(found, namespace)
        found.proxy.on(answer(429, retry_after=1), verb="get")
        usual = found.api.limiter.rate
        got = asyncio.create_task(found.api.get(item.ref))
        await until(lambda: found.api.limiter.rate < usual)
        sent = len(found.proxy.seen)
        written = asyncio.ensure_future(change(found, item, namespace)[verb]())
        await asyncio.sleep(0)
        lead.held = False
        with pytest.raises(NotLeading):
            await written
        # Only reads continue.
        await got
        assert [request.verb for request in found.proxy.seen[sent:]] == ["get"]
        assert not found.writes.unsettled.unsettled(KEY)


@pytest.mark.parametrize(
    "fault", [answer(429), answer(503), answer(401)], ids=["429", "503", "401"]
)
async def test_a_write_is_not_retried_when_the_lead_was_lost_since_the_first_try(
    fault: Fault, kubernetes: Cluster, namespace: str
) -> None:
    lead = Lead()

    async def lost(passage: Passage) -> web.StreamResponse:
        lead.held = False
        return await fault(passage)

    async with side_of(kubernetes, before_write=lead.check) as found:
        item = await one(found, namespace)
        found.proxy.on(lost, verb="patch")
        with pytest.raises(NotLeading):
            await writes(found, item)["patch"]()
        assert len(found.proxy.requests("patch")) == 1
        lead.held = True
        await writes(found, item)["patch"]()


async def test_a_lease_is_written_without_the_lead_since_it_acquires_it(
    kubernetes: Cluster, namespace: str
) -> None:
    lead = Lead()
    lead.held = False
    async with side_of(kubernetes, before_write=lead.check) as found:
        leases = Leases(found.api)
        made = await leases.create(lease(namespace))
        await leases.update({**made, "spec": {"holderIdentity": ""}})
        with pytest.raises(NotLeading):
            await found.api.create(pod("one", namespace))


async def test_requests_keep_to_the_rate(kubernetes: Cluster, namespace: str) -> None:
    async with side_of(kubernetes, limiter=Limiter(100, burst=1)) as found:
        item = await one(found, namespace)
        await asyncio.gather(*(found.api.get(item.ref) for _ in range(50)))
        times = [request.at for request in found.proxy.seen]
        assert times[-1] - times[0] >= 0.49


async def test_many_watches_leave_room_for_requests(side: Side, namespace: str) -> None:
    item = await one(side, namespace)

    async def watch() -> None:
        async with side.api.watch(
            PODS.within(namespace), item.version, idle_seconds=30, duration_seconds=30
        ) as lines:
            async for _ in lines:
                pass

    watches = [asyncio.create_task(watch()) for _ in range(150)]
    await until(lambda: len(side.proxy.watching) == 150)
    await asyncio.gather(*(side.api.get(item.ref) for _ in range(100)))
    for task in watches:
        task.cancel()
    await asyncio.gather(*watches, return_exceptions=True)


async def test_a_redirect_is_not_followed_with_our_token(side: Side, namespace: str) -> None:
    elsewhere = {"Location": f"{side.proxy.url}/elsewhere"}
    side.proxy.on(answer(302, headers=elsewhere), times=None)
    with pytest.raises(ApiError):
        await side.api.get(ObjectRef("Pod", namespace, "one"))
    assert len(side.proxy.seen) == 1


async def test_a_cancelled_request_leaves_nothing_behind(side: Side, namespace: str) -> None:
    side.proxy.on(faults.hang(), times=40)
    ref = ObjectRef("Pod", namespace, "one")
    tasks = [asyncio.create_task(side.api.get(ref)) for _ in range(40)]
    await until(lambda: len(side.proxy.seen) == 32)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    side.proxy.rules.clear()
    with pytest.raises(NotFound):
        await side.api.get(replace(ref, name="two"))


async def test_a_create_with_a_taken_name_is_not_repeated(side: Side, namespace: str) -> None:
    await one(side, namespace)
    with pytest.raises(AlreadyExists):
        await side.writes.create(KEY, pod("one", namespace))
    assert len(side.proxy.seen) == 2
    assert not side.writes.unsettled.unsettled(KEY)
