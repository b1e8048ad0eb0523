"""Waiting: the end of exactly this job, through every fault of server and network."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from daskjob.core.errors import (
    Forbidden,
    InfrastructureFailure,
    InvalidFailure,
    NotFound,
    PolicyFailure,
    Timeout,
    UserFailure,
)
from daskjob.core.manifests import Manifest
from daskjob.kube.objects import Pace
from daskjob.submit.client import job_watch, waiting
from daskjob.submit.jobs import JobRef
from tests.client.given import FAILED, RUNNING, SUCCEEDED, Given, given_client, job, twins
from tests.cluster.proxy import (
    Fault,
    Passage,
    answer,
    error_line,
    hang,
    reset,
    watch_ends,
    watch_is_silent,
    watch_says,
    watch_sends,
)
from tests.kubernetes.given import Cluster
from tests.waiting import until


@asynccontextmanager
async def awaited(given: Given, ref: JobRef) -> AsyncIterator[asyncio.Task[Any]]:
    """Wait for a job, beside what the test does; the watch is open."""
    task = asyncio.create_task(given.client.wait(ref))
    await until(lambda: given.proxy.watching or task.done())
    yield task
    await asyncio.gather(task, return_exceptions=True)


@twins
async def test_returns_the_job_at_its_end(form: str, with_crds: Cluster, namespace: str) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        async with awaited(given, ref) as task:
            await given.report(ref, RUNNING)
            await given.report(ref, SUCCEEDED)
            ended = await task
        assert (ended.ref, ended.status.phase) == (ref, "Succeeded")
        assert await given.client.result(ref) == {"total": 3}
        assert (given.count("list"), given.count("watch")) == (1, 1)
        # Of a job that has ended, one request shows it.
        before = len(given.proxy.seen)
        assert (await given.client.wait(ref)).ref == ref
        assert len(given.proxy.seen) - before <= 1


FAULTS: dict[str, Fault] = {
    "ends": watch_ends(),
    "reset": reset(),
    "410": answer(410, "too old resource version", "Expired"),
    "410 within": watch_says(error_line(410)),
    "500 within": watch_says(error_line(500, "etcdserver: leader changed")),
    "429": answer(429),
    "429 with Retry-After": answer(429, retry_after=1),
    "503": answer(503),
    "not JSON": watch_sends(b"<html>\n"),
    "half a line": watch_sends(b'{"type":"MODIFIED","object":{"metadata":'),
}


@twins
@pytest.mark.parametrize("fault", FAULTS)
async def test_no_end_is_missed_while_the_watch_fails(
    form: str, fault: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        async with awaited(given, ref) as task:
            rule = given.proxy.on(FAULTS[fault], verb="watch", times=2)
            given.proxy.cut_watches()
            await until(lambda: rule.hits)
            await given.report(ref, SUCCEEDED)
            assert (await task).status.succeeded


@twins
async def test_a_silent_watch_is_replaced(
    form: str, with_crds: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_watch, "PACE", Pace(idle=0.5, shortest=0.05))
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        given.proxy.on(watch_is_silent(), verb="watch")
        task = asyncio.create_task(given.client.wait(ref))
        await until(lambda: given.count("watch"))
        await given.report(ref, SUCCEEDED)
        assert (await task).status.succeeded


@twins
async def test_the_wait_goes_on_after_a_restart_of_the_server(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        async with awaited(given, ref) as task:
            async with given.proxy.away():
                await given.report(ref, SUCCEEDED)
                await asyncio.sleep(0.3)
            assert (await task).status.succeeded


@twins
@pytest.mark.parametrize("when", ["watching", "between watches", "before"])
async def test_a_job_that_vanishes_or_is_replaced_is_not_found(
    form: str, when: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        if when == "before":
            await given.remove(ref)
            await given.report(await given.client.submit(job()), SUCCEEDED)
            with pytest.raises(NotFound):
                await given.client.wait(ref)
            return
        async with awaited(given, ref) as task:
            rule = given.proxy.on(answer(503), times=None) if when == "between watches" else None
            if rule is not None:
                given.proxy.cut_watches()
                await until(lambda: rule.hits)
            await given.remove(ref)
            fresh = job()
            fresh["metadata"]["namespace"] = namespace
            await given.admin.create(fresh)
            if rule is not None:
                rule.end()
            with pytest.raises(NotFound, match="deleted before it ended"):
                await task


@twins
async def test_a_job_that_never_existed_is_not_found_at_once(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        for uid in ("", "8c7d"):
            with pytest.raises(NotFound):
                await given.client.wait(JobRef("nothing", namespace, uid))
        assert len(given.proxy.seen) <= 3


@twins
async def test_a_job_that_ends_and_is_deleted_between_two_watches_is_not_a_success(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        async with awaited(given, ref) as task:
            rule = given.proxy.on(answer(503), times=None)
            given.proxy.cut_watches()
            await until(lambda: rule.hits)
            await given.report(ref, SUCCEEDED)
            await given.remove(ref)
            rule.end()
            with pytest.raises(NotFound):
                await task


@twins
async def test_a_job_whose_deletion_shows_its_end_has_ended(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        async with awaited(given, ref) as task:
            await given.report(ref, SUCCEEDED)
            await given.remove(ref)
            assert (await task).status.succeeded


def failed(reason: str, **more: Any) -> Manifest:
    return {**FAILED, "reason": reason, "message": f"because of {reason}.", **more}


FAILURES: dict[str, tuple[Manifest, type[Exception], bool]] = {
    "ExitCode": (FAILED, UserFailure, False),
    "Evicted": (failed("Evicted"), InfrastructureFailure, True),
    "DeadlineExceeded": (failed("DeadlineExceeded"), PolicyFailure, False),
    "Cancelled": (failed("Cancelled"), PolicyFailure, False),
    "InvalidSpec": (failed("InvalidSpec"), InvalidFailure, False),
    "backoffLimit of a script": (
        failed("BackoffLimitExceeded", attempts=[{"number": 0, "reason": "ExitCode"}]),
        UserFailure,
        False,
    ),
    "backoffLimit of nodes": (
        failed("BackoffLimitExceeded", attempts=[{"number": 0, "reason": "NodeLost"}]),
        InfrastructureFailure,
        True,
    ),
}


@pytest.mark.parametrize("reason", FAILURES)
async def test_a_failure_is_raised_as_its_class_unless_not_wanted(
    reason: str, with_crds: Cluster, namespace: str
) -> None:
    status, kind, retryable = FAILURES[reason]
    for attempt in status.get("attempts", ()):
        attempt.update(endTime="2026-01-01T00:00:00Z", startTime="2026-01-01T00:00:00Z")
        attempt.update(message="", runnerPodName="sums-runner")
    async with given_client(with_crds, namespace, "async") as given:
        ref = await given.client.submit(job())
        await given.report(ref, status)
        with pytest.raises(kind) as caught:
            await given.client.wait(ref)
        again = pickle.loads(pickle.dumps(caught.value))
        assert (again.reason, again.exit_code) == (status["reason"], 3)
        assert again.retryable is retryable
        ended = await given.client.wait(ref, raise_on_failure=False)
        assert ended.status.exit_code == 3


@twins
async def test_a_timeout_leaves_the_job_and_says_what_it_does(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        with pytest.raises(Timeout, match=r"within 0\.3 s.*no operator has picked up sums"):
            await given.client.wait(ref, timeout_seconds=0.3)
        await given.report(ref, {**RUNNING, "message": "2 of 3 workers are ready."})
        with pytest.raises(Timeout, match="Running: 2 of 3 workers") as caught:
            await given.client.wait(ref, timeout_seconds=0.3)
        assert caught.value.retryable
        assert (await given.client.get(ref)).status.phase == "Running"


@twins
async def test_a_hung_server_ends_a_wait_at_its_timeout(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        given.proxy.on(hang(), times=None)
        with pytest.raises(Timeout):
            await given.client.wait(ref, timeout_seconds=0.5)


@twins
@pytest.mark.parametrize("verb", ["get", "list", "watch"])
async def test_a_missing_permission_ends_a_wait_at_once(
    form: str, verb: str, with_crds: Cluster, namespace: str
) -> None:
    message = f'daskjobs is forbidden: User "me" cannot {verb} resource "daskjobs"'
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        given.proxy.on(answer(403, message, "Forbidden"), verb=verb, times=None)
        with pytest.raises(Forbidden, match=rf"verbs: \[{verb}\]"):
            await given.client.wait(
                JobRef(ref.name, ref.namespace, "" if verb == "get" else ref.uid)
            )
        assert given.count(verb) == 1


@twins
async def test_no_operator_is_reported_once_and_how_to_install_one(
    form: str, with_crds: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PICK_UP_SECONDS", 0.2)
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        async with awaited(given, ref) as task:
            await until(lambda: given.messages)
            await given.report(ref, SUCCEEDED)
            await task
        (message,) = given.messages
        assert "no operator has picked up sums yet" in message
        assert "daskjob install" in message
        other = await given.client.submit(job("other", managedBy="example.com/queue"))
        with pytest.raises(Timeout):
            await given.client.wait(other, timeout_seconds=0.5)
        assert "it is left to example.com/queue" in given.messages[-1]


# Many waits


@twins
async def test_forty_waits_share_one_watch(form: str, with_crds: Cluster, namespace: str) -> None:
    async with given_client(with_crds, namespace, form) as given:
        refs = [await given.client.submit(job(f"sums-{number}")) for number in range(40)]
        tasks = [asyncio.create_task(given.client.wait(ref)) for ref in refs]
        await until(lambda: given.proxy.watching)
        for ref in refs:
            await given.report(ref, SUCCEEDED)
        assert [done.ref for done in await asyncio.gather(*tasks)] == refs
        # Threads do not all begin before the first list.
        assert given.count("watch") <= (1 if form == "async" else 2)
        assert len(given.proxy.watching) == 1


async def test_a_wait_that_begins_during_the_first_list_misses_no_change(
    with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        refs = [await given.client.submit(job(f"sums-{number}")) for number in range(3)]
        later = asyncio.Event()

        async def held(passage: Passage) -> web.StreamResponse:
            await later.wait()
            return await passage.forward()

        rule = given.proxy.on(held, verb="list")
        tasks = [asyncio.create_task(given.client.wait(ref)) for ref in refs[:2]]
        await until(lambda: rule.hits)
        before = given.count("get")
        tasks.append(asyncio.create_task(given.client.wait(refs[2])))
        # It has seen its job as it was.
        await until(lambda: [r.code for r in given.proxy.requests("get")[before:]] == [200])
        for ref in refs:
            await given.report(ref, SUCCEEDED)
        # So the list has the change, and the watch does not show it.
        later.set()
        async with asyncio.timeout(60):
            assert [done.ref for done in await asyncio.gather(*tasks)] == refs


async def test_five_hundred_waits_cost_one_watch(with_crds: Cluster, namespace: str) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        gate = asyncio.Semaphore(30)

        async def submit(number: int) -> JobRef:
            async with gate:
                ref: JobRef = await given.client.submit(job(f"sums-{number}"))
                return ref

        refs = await asyncio.gather(*map(submit, range(500)))
        before = len(given.proxy.seen)
        tasks = [asyncio.create_task(given.client.wait(ref)) for ref in refs]
        await until(lambda: given.proxy.watching)
        given.proxy.cut_watches()
        await until(lambda: given.count("watch") == 2)

        async def end(ref: JobRef) -> None:
            async with gate:
                await given.report(ref, SUCCEEDED)

        await asyncio.gather(*map(end, refs))
        assert all(done.status.succeeded for done in await asyncio.gather(*tasks))
        # One list of a page, one watch; the same again after it was cut.
        assert len(given.proxy.seen) - before == 4


@twins
async def test_waits_one_after_the_other_share_one_watch(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        refs = [await given.client.submit(job(f"sums-{number}")) for number in range(6)]
        for ref in refs:
            task = asyncio.create_task(given.client.wait(ref))
            await asyncio.sleep(0.02)
            await given.report(ref, SUCCEEDED)
            await task
        # The first one is of a single job.
        assert given.count("watch") == 2


async def test_the_watch_ends_with_the_client(with_crds: Cluster, namespace: str) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        ref = await given.client.submit(job())
        task = asyncio.create_task(given.client.wait(ref))
        await until(lambda: given.proxy.watching)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await given.client.close()
        assert not [found for found in asyncio.all_tasks() if "JobWatch" in repr(found)]


@twins
async def test_watch_yields_each_state_up_to_the_end(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        phases = []
        async for seen in given.client.watch(ref):
            phases.append(seen.status.phase)
            if not seen.status.phase:
                await given.report(ref, RUNNING)
            elif seen.status.phase == "Running":
                await given.report(ref, SUCCEEDED)
        assert phases == ["", "Running", "Succeeded"]
