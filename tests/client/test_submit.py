"""Submission: once for each token, whatever happens to the requests."""

from __future__ import annotations

import asyncio
import copy
import os
import random
from collections import Counter

import pytest

from daskjob.core.errors import Conflict, Forbidden, Invalid, NotFound
from daskjob.kube.requests import TRIES
from daskjob.submit.client.errors import NotInstalled
from tests.client.given import given_client, job, twins
from tests.cluster.proxy import Request, answer, lose_answer, reset
from tests.core.specimens import RIGHT
from tests.kubernetes.given import Cluster

DENIED = (
    'daskjobs.kubernetes.dask.org is forbidden: User "me" cannot create resource "daskjobs" in '
    'API group "kubernetes.dask.org" in the namespace "team"'
)


@twins
@pytest.mark.parametrize("token", ["2026-01-31", "a b/c", "x" * 300])
async def test_a_token_is_submitted_once_and_is_part_of_the_name(
    form: str, token: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        first = await given.client.submit(job(), token=token)
        assert given.count("create") + given.count("get") == 1
        assert first.name.startswith("sums-")
        assert await given.client.submit(job(), token=token) == first
        assert given.count("create") + given.count("get") == 3
        assert [found.ref for found in await given.client.list()] == [first]


@pytest.mark.parametrize("length", [1, 40, 63])
async def test_a_name_with_a_token_leaves_room_for_the_names_of_pods(
    length: int, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        ref = await given.client.submit(job("n" * length), token="t")
        assert len(f"{ref.name}-scheduler") <= 63


@twins
async def test_without_a_token_the_own_name_is_taken_once(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        assert ref.name == "sums"
        with pytest.raises(Conflict, match="belongs to another submission"):
            await given.client.submit(job())
        manifest = job()
        manifest["metadata"] = {"generateName": "my-sums-"}
        names = {(await given.client.submit(manifest)).name for _ in range(3)}
        assert len(names) == 3
        assert all(name.startswith("my-sums-") for name in names)


@twins
async def test_another_spec_for_a_token_is_a_conflict_that_shows_the_difference(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        await given.client.submit(job(code="print(1)"), token="t")
        with pytest.raises(Conflict, match=r"args\[2\]: 'print\(1\)' → 'print\(2\)'"):
            await given.client.submit(job(code="print(2)"), token="t")


async def test_a_job_is_adopted_after_changes_that_a_running_job_follows(
    with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        ref = await given.client.submit(job(), token="t")
        await given.client.scale(ref, 7)
        await given.client.suspend(ref)
        assert await given.client.submit(job(), token="t") == ref


@twins
async def test_job_of_a_token_that_differs_where_it_may_is_found_with_the_differences(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        first = await given.client.submit(job(), token="t")
        assert first.differences == ()
        same = await given.client.submit(job(backoffLimit=6), token="t")
        assert (same, same.differences) == (first, ())
        other = job(activeDeadlineSeconds=60)
        other["spec"]["cluster"]["spec"]["worker"]["replicas"] = 7
        found = await given.client.submit(other, token="t")
        assert found == first
        assert sorted(found.differences) == [
            "spec activeDeadlineSeconds: none → 60",
            "spec worker replicas: 1 → 7",
        ]
        assert len(await given.client.list()) == 1


@pytest.mark.parametrize("token", ["2026-01-31", "a b/c", "x" * 300])
async def test_another_client_finds_the_job_of_a_token_with_one_more_look(
    token: str, with_crds: Cluster, namespace: str
) -> None:
    refs = []
    for _ in range(3):
        async with given_client(with_crds, namespace, "sync") as given:
            refs.append(await given.client.submit(job(), token=token))
            assert (given.count("create"), given.count("get")) == (1, int(len(refs) > 1))
    assert len(set(refs)) == 1


#: A lost response is the fault after which the job exists.
LOST = {
    "lost answer": lose_answer(),
    "reset": reset(),
    "500": answer(500, "etcdserver: request timed out"),
    "503": answer(503),
    "504": answer(504),
    "429": answer(429, retry_after=1),
    "429 without Retry-After": answer(429),
}


@twins
@pytest.mark.parametrize("fault", LOST)
async def test_a_creation_of_unknown_outcome_is_one_job(
    form: str, fault: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        # aiohttp itself repeats a request whose connection broke at once.
        given.proxy.on(LOST[fault], verb="create", resource="daskjobs", times=2)
        ref = await given.client.submit(job())
        assert [found.ref for found in await given.client.list()] == [ref]


async def test_retry_after_is_honoured(with_crds: Cluster, namespace: str) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        given.proxy.on(answer(429, retry_after=2), verb="create", resource="daskjobs")
        await given.client.submit(job())
        first, second = given.proxy.requests("create", "daskjobs")
        assert second.at - first.at >= 2.0


@twins
async def test_a_missing_permission_is_reported_at_once_with_its_rule(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        given.proxy.on(answer(403, DENIED, "Forbidden"), times=None)
        with pytest.raises(Forbidden) as caught:
            await given.client.submit(job())
        assert given.count("create") == 1
        missing = caught.value.permission
        assert missing is not None
        assert (missing.verb, missing.resource, missing.namespace) == ("create", "daskjobs", "team")
        assert (
            "a Role in namespace team grants it with the rule {apiGroups: [kubernetes.dask.org], "
            "resources: [daskjobs], verbs: [create]}"
        ) in str(caught.value)
        assert not caught.value.retryable


@twins
async def test_what_can_never_succeed_is_requested_once(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        elsewhere = job()
        elsewhere["metadata"]["namespace"] = f"{namespace}-missing"
        missing = f"namespace {namespace}-missing does not exist"
        with pytest.raises(NotFound, match=missing):
            await given.client.submit(elsewhere)
        assert given.count("create") == 1

        given.proxy.on(answer(404, "the server could not find the requested resource"))
        with pytest.raises(NotInstalled, match="daskjob install") as caught:
            await given.client.submit(job())
        assert not caught.value.retryable
        assert given.count("create") == 2

        with pytest.raises(Invalid, match="backoffLimit"):
            await given.client.submit(job(backoffLimit=-1))
        assert given.count("create") == 2

        given.proxy.on(answer(422, "spec.job: Invalid value", "Invalid"))
        with pytest.raises(Invalid, match=r"spec\.job: Invalid value"):
            await given.client.submit(job())
        assert given.count("create") == 3


async def test_a_job_that_is_being_deleted_is_not_adopted(
    with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        held = job()
        held["metadata"]["finalizers"] = ["example.com/held"]
        ref = await given.client.submit(held, token="t")
        await given.remove(ref)
        again = asyncio.create_task(given.client.submit(job(), token="t"))
        await asyncio.sleep(0.3)
        assert not again.done()
        await given.admin.patch(given.object_ref(ref), {"metadata": {"finalizers": None}})
        assert (await again).uid != ref.uid


#: ``DASKJOB_PROPERTY_EXAMPLES=2000`` sets it; the gate of a release is 2,000.
JOBS_OF_TOKENS = int(os.environ.get("DASKJOB_PROPERTY_EXAMPLES", "200"))


async def test_two_hundred_submissions_with_random_disconnects_and_repeated_tokens(
    with_crds: Cluster, namespace: str
) -> None:
    chance, faults = random.Random(7), Counter[tuple[str, str | bytes]]()

    def is_unlucky(request: Request) -> bool:
        # The client gives a request up after its fourth failure.
        key = (request.verb, request.name or request.body)
        if faults[key] >= TRIES - 1 or chance.random() >= 0.1:
            return False
        faults[key] += 1
        return True

    async with given_client(with_crds, namespace, "async") as given:
        for fault in (lose_answer(), reset(), answer(503)):
            given.proxy.on(fault, when=is_unlucky, times=None)
        tokens = [str(number // 2) for number in range(2 * JOBS_OF_TOKENS)]
        chance.shuffle(tokens)
        gate = asyncio.Semaphore(20)

        async def submit(token: str) -> str:
            async with gate:
                return str((await given.client.submit(job(), token=token)).uid)

        uids = await asyncio.gather(*map(submit, tokens))
        for rule in given.proxy.rules:
            rule.end()
        assert len(set(uids)) == JOBS_OF_TOKENS
        assert {found.ref.uid for found in await given.client.list()} == set(uids)


JOBS = {title: found for title, found in RIGHT.items() if found["kind"] == "DaskJob"}


async def test_every_job_that_the_server_may_complete_is_adopted(
    with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        for title, manifest in JOBS.items():
            found = copy.deepcopy(manifest)
            found["metadata"] = {"name": f"j{len(given.proxy.seen)}", "namespace": namespace}
            first = await given.client.submit(found, token=title)
            assert await given.client.submit(found, token=title) == first, title
