"""The other operations: the requests that they cost, and what repeating them does."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from daskjob.core.errors import ApiError, Conflict, Forbidden, NotFound
from daskjob.core.manifests import Manifest
from daskjob.kube.api import Api
from daskjob.kube.objects import get_object
from daskjob.submit.client.errors import NotInstalled
from daskjob.submit.jobs import JobRef, StillRunning
from tests.client.given import FAILED, RUNNING, SUCCEEDED, Given, given_client, job, twins
from tests.cluster.proxy import answer, hang, lose_answer
from tests.kubernetes.given import Cluster


async def spec_of(given: Given, ref: JobRef) -> Manifest:
    spec: Manifest = (await get_object(given.admin, given.object_ref(ref)))["spec"]
    return spec


@twins
async def test_a_job_is_cancelled_once(form: str, with_crds: Cluster, namespace: str) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        given.proxy.on(lose_answer(), verb="patch")
        assert await given.client.cancel(ref)
        assert (await spec_of(given, ref))["cancel"] is True
        writes = given.count("patch")
        assert await given.client.cancel(ref)
        await given.report(ref, {**FAILED, "reason": "Cancelled"})
        assert not await given.client.cancel(ref)
        assert given.count("patch") == writes


async def test_two_cancellations_at_once_are_one(with_crds: Cluster, namespace: str) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        ref = await given.client.submit(job())
        both = await asyncio.gather(given.client.cancel(ref), given.client.cancel(ref))
        assert all(both)


@twins
async def test_a_job_is_suspended_and_resumed_until_it_has_ended(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        for verb, wanted in (("suspend", True), ("resume", False)):
            for _ in range(2):
                await getattr(given.client, verb)(ref)
                assert (await spec_of(given, ref))["suspend"] is wanted
        assert given.count("patch") == 2
        await given.report(ref, SUCCEEDED)
        for verb in ("suspend", "resume"):
            with pytest.raises(Conflict, match="has ended"):
                await getattr(given.client, verb)(ref)


@twins
async def test_a_job_is_scaled_where_its_workers_are_its_own(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        for workers in (3, 3, 0):
            await given.client.scale(ref, workers)
            spec = await spec_of(given, ref)
            assert spec["cluster"]["spec"]["worker"]["replicas"] == workers
        assert given.count("patch") == 2
        with pytest.raises(ValueError, match="-1 workers"):
            await given.client.scale(ref, -1)

        borrowing = job("borrowing")
        del borrowing["spec"]["cluster"]
        borrowing["spec"]["clusterRef"] = {"name": "shared"}
        borrowed = await given.client.submit(borrowing)
        with pytest.raises(Conflict, match="DaskCluster shared"):
            await given.client.scale(borrowed, 3)

        adaptive = job("adaptive")
        limits = {"minimum": 1, "maximum": 3}
        adaptive["spec"]["cluster"]["spec"]["worker"]["autoscaling"] = limits
        with pytest.raises(Conflict, match="scaled automatically"):
            await given.client.scale(await given.client.submit(adaptive), 3)


@twins
async def test_an_ended_job_is_run_again_as_a_new_one(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        manifest = job(backoffLimit=2)
        manifest["metadata"]["labels"] = {"team": "blue"}
        ref = await given.client.submit(manifest, token="t")
        with pytest.raises(Conflict, match="has not ended"):
            await given.client.retry(ref)
        await given.client.cancel(ref)
        await given.report(ref, {**FAILED, "reason": "Cancelled"})
        again = await given.client.retry(ref)
        assert not again.existed
        repeated = await given.client.retry(ref)
        assert (repeated, repeated.existed) == (again, True)
        assert (await given.client.retry(ref, token="other")) != again
        await given.report(again, FAILED)
        assert (await given.client.retry(ref)).name not in (again.name, ref.name)
        third = await given.client.retry(again)
        assert len({ref.name, again.name, third.name}) == 3
        assert third.name.startswith("sums-")
        assert len(third.name) == len(ref.name)
        found = (await given.client.get(third)).manifest
        assert found["metadata"]["labels"] == {"team": "blue"}
        assert found["spec"]["backoffLimit"] == 2
        assert "cancel" not in found["spec"]


@twins
async def test_an_ended_job_is_deleted_and_a_running_one_only_by_force(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        with pytest.raises(StillRunning):
            await given.client.delete(ref)
        given.proxy.on(lose_answer(), verb="delete")
        await given.client.delete(ref, force=True)
        with pytest.raises(NotFound):
            await given.client.delete(ref)
        again = await given.client.submit(job())
        # The reference is to the first one.
        for verb in ("get", "cancel", "delete", "suspend", "retry", "events", "why", "result"):
            if verb != "events":
                with pytest.raises(NotFound):
                    await getattr(given.client, verb)(ref)
        await given.report(again, SUCCEEDED)
        await given.client.delete(again)
        assert await given.client.list() == ()


@twins
async def test_jobs_are_found_by_name_by_script_and_by_age(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        with pytest.raises(NotFound, match=f"there are no jobs in namespace {namespace}"):
            await given.client.find()
        generated = job()
        generated["metadata"] = {"generateName": "my-script-", "labels": {"team": "blue"}}
        script = await given.client.submit(generated)
        named = await given.client.submit(job("named"))
        assert (await given.client.find("named")).ref == named
        assert (await given.client.find("my_script")).ref == script
        assert (await given.client.find(script.name, exact=True)).ref == script
        with pytest.raises(NotFound, match=r"existing jobs: .*named"):
            await given.client.find("my_script", exact=True)
        assert {found.ref for found in await given.client.list()} == {script, named}
        assert [found.ref for found in await given.client.list(labels="team=blue")] == [script]
        assert set(await given.client.names()) == {script.name, "named"}


@twins
async def test_events_are_of_this_job_oldest_first(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        for number, uid in enumerate((ref.uid, ref.uid, "another")):
            await given.admin.create(event(ref, uid, number))
        events = await given.client.events(ref)
        assert [(found.type, found.reason, found.message) for found in events] == [
            ("Normal", "Started", "event 0"),
            ("Warning", "Failed", "event 1"),
        ]
        assert events[0].time is not None


def event(ref: JobRef, uid: str, number: int) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"sums.{number}", "namespace": ref.namespace},
        "involvedObject": {
            "kind": "DaskJob",
            "namespace": ref.namespace,
            "name": ref.name,
            "uid": uid,
        },
        "type": "Warning" if number else "Normal",
        "reason": "Failed" if number else "Started",
        "message": f"event {number}",
        "lastTimestamp": f"2026-01-01T00:00:0{number}Z",
    }


@twins
async def test_why_report_and_result_read_the_status(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        found = await given.client.why(ref)
        assert found.headline == "sums has no status: no operator has picked it up."
        assert "install it" in found.next_step
        assert await given.client.result(ref) is None
        assert await given.client.report(ref) is None
        await given.report(ref, {**RUNNING, "report": {"tasks": {"done": 3}}})
        assert await given.client.report(ref) == {"tasks": {"done": 3}}
        await given.report(ref, {**FAILED, "reason": "OOMKilled"})
        assert "Raise resources.limits.memory" in (await given.client.why(ref)).next_step


CALLS = ("get", "cancel", "suspend", "scale", "events", "why", "result", "list", "names", "find")


@twins
@pytest.mark.parametrize("method", CALLS)
async def test_every_call_survives_a_moment_of_trouble_and_reports_what_stays(
    form: str, method: str, with_crds: Cluster, namespace: str
) -> None:
    denied = 'daskjobs is forbidden: User "me" cannot do resource "daskjobs" in API group "g"'
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        extra = [2] if method == "scale" else []
        arguments = [] if method in ("list", "names", "find") else [ref, *extra]
        for fault in (answer(503), answer(429, retry_after=0), lose_answer()):
            given.proxy.on(fault)
            await getattr(given.client, method)(*arguments)
        given.proxy.on(answer(403, denied, "Forbidden"), times=None)
        before = len(given.proxy.seen)
        with pytest.raises(Forbidden):
            await getattr(given.client, method)(*arguments)
        assert len(given.proxy.seen) - before == 1


@twins
async def test_a_cluster_without_the_crds_is_reported_at_once(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        given.proxy.on(answer(404, "the server could not find the requested resource"), times=None)
        for method in ("list", "wait", "get", "cancel"):
            arguments = [] if method == "list" else [ref]
            with pytest.raises(NotInstalled, match="daskjob install"):
                await getattr(given.client, method)(*arguments)


@twins
@pytest.mark.parametrize("method", ["get", "list", "cancel", "wait"])
async def test_a_hung_server_is_an_error_in_the_end(
    form: str, method: str, with_crds: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = partial(Api, try_seconds=0.2, budget_seconds=0.5)
    monkeypatch.setattr("daskjob.submit.client.async_client.Api", impatient)
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        given.proxy.on(hang(), times=None)
        with pytest.raises(ApiError, match="did not answer in time") as caught:
            await getattr(given.client, method)(*([] if method == "list" else [ref]))
        assert caught.value.retryable


async def test_a_namespace_that_does_not_exist_is_named_and_asked_for_only_if_it_has_no_jobs(
    with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        asked = partial(given.proxy.requests, "get", "namespaces")
        assert await given.client.list() == ()
        assert len(asked()) == 1
        # An answer that only explains is not worth an error, nor a second try.
        for code in (403, 500):
            given.proxy.on(answer(code), verb="get", resource="namespaces")
            assert await given.client.list() == ()
        assert len(asked()) == 3
        await given.client.submit(job())
        before = len(asked())
        assert len(await given.client.list()) == 1
        with pytest.raises(NotFound, match=r"no job 'sms' in namespace .* \(did you mean sums\?\)"):
            await given.client.find("sms")
        assert len(asked()) == before
    async with given_client(with_crds, f"{namespace}-gone", "async") as given:
        missing = f"namespace {namespace}-gone does not exist; "
        with pytest.raises(NotFound, match=missing):
            await given.client.list()
        with pytest.raises(NotFound, match=missing):
            await given.client.find("sums")
