"""The generation rule at a real API server, behind a proxy before which its client is killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from daskjob.core.errors import Conflict, Timeout
from daskjob.core.manifests import Manifest
from daskjob.core.names import files_name
from daskjob.kube.access import Access
from daskjob.submit.client.async_client import AsyncJobClient
from daskjob.submit.generations import (
    Generation,
    Identity,
    Step,
    acknowledge,
    acknowledge_async,
    start_generation,
    start_generation_async,
)
from daskjob.submit.generations import starting as module
from daskjob.submit.jobs import Job, JobRef
from tests.client.given import FAILED, RUNNING, SUCCEEDED, Blocking, Given, given_client, job, twins
from tests.cluster.proxy import after, answer, before, lose_answer
from tests.kubernetes.given import Cluster, Plain
from tests.waiting import until

TASK = Identity("airflow", ("daily", "manual__2026-01-31T00:00:00+00:00", "sums", "-1"))
OTHER = Identity("airflow", (*TASK.parts[:3], "0"))
CANCELLED: Manifest = {**FAILED, "phase": "Cancelled", "reason": "Cancelled"}
#: More than any application of the rule sends.
MANY = 20


async def start(
    given: Given, manifest: Manifest | None = None, identity: Identity = TASK, **options: Any
) -> Generation:
    """Apply the rule with either form of the client."""
    sent = manifest or job()
    if isinstance(given.client, Blocking):
        client = given.client.client
        return await asyncio.to_thread(start_generation, client, sent, identity, **options)
    return await start_generation_async(given.client, sent, identity, **options)


async def taken(given: Given, ref: JobRef) -> None:
    if isinstance(given.client, Blocking):
        await asyncio.to_thread(acknowledge, given.client.client, ref)
    else:
        await acknowledge_async(given.client, ref)


async def jobs(given: Given) -> list[Job]:
    return sorted(await given.client.list(), key=lambda job: job.name)


@asynccontextmanager
async def cancelling(given: Given) -> AsyncIterator[None]:
    """Let cancelled jobs end, as an operator does."""

    async def operate() -> None:
        async with AsyncJobClient(given.namespace, credentials=direct(given)) as client:
            while True:
                for found in await client.list():
                    if found.manifest["spec"].get("cancel") and not found.status.finished:
                        await given.report(found.ref, CANCELLED)
                await asyncio.sleep(0.02)

    task = asyncio.create_task(operate())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def direct(given: Given) -> Any:
    """Return the administrator's credentials, past the proxy."""
    return lambda: given.admin.credentials


@twins
async def test_the_first_try_starts_a_job_with_two_requests(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        first = await start(given, timeout_seconds=600)
        assert (first.step, first.number) == (Step.CREATED, 1)
        assert Counter(request.verb for request in given.proxy.seen) == {"list": 1, "create": 1}
        (found,) = await jobs(given)
        assert found.ref == first.job.ref
        assert found.manifest["spec"]["activeDeadlineSeconds"] == 600
        assert found.manifest["metadata"]["labels"] == {
            "kubernetes.dask.org/submitted-by": "airflow",
            "kubernetes.dask.org/submission-id": TASK.digest,
        }
        assert first.job.name == f"sums-{TASK.digest[:10]}-g1"


@twins
async def test_every_cell_of_the_table(form: str, with_crds: Cluster, namespace: str) -> None:
    async with given_client(with_crds, namespace, form) as given, cancelling(given):
        first = await start(given)
        # Active.
        assert await start(given) == first_again(await start(given), first, Step.ADOPTED)
        await given.report(first.job.ref, RUNNING)
        assert (await start(given)).step is Step.ADOPTED
        # Succeeded.
        await given.report(first.job.ref, SUCCEEDED)
        result = await start(given)
        assert (result.step, result.job.status.result) == (Step.FINISHED, {"total": 3})
        assert (await start(given)).step is Step.FINISHED
        # Succeeded, and taken: the task was reset.
        await taken(given, first.job.ref)
        second = await start(given)
        assert (second.step, second.number) == (Step.CREATED, 2)
        # Failed, whether taken or not.
        await given.report(second.job.ref, FAILED)
        third = await start(given)
        assert (third.step, third.number) == (Step.CREATED, 3)
        await given.report(third.job.ref, CANCELLED)
        await taken(given, third.job.ref)
        fourth = await start(given)
        assert (fourth.step, fourth.number) == (Step.CREATED, 4)
        # Active, and taken.
        await given.report(fourth.job.ref, RUNNING)
        await taken(given, fourth.job.ref)
        fifth = await start(given)
        assert (fifth.step, fifth.number) == (Step.CREATED, 5)
        assert [found.status.phase for found in await jobs(given)] == [
            "Succeeded",
            "Failed",
            "Cancelled",
            "Cancelled",
            "",
        ]


def first_again(found: Generation, first: Generation, step: Step) -> Generation:
    assert (found.job.ref, found.number, found.step) == (first.job.ref, first.number, step)
    return found


async def test_another_task_has_jobs_of_its_own(with_crds: Cluster, namespace: str) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        first = await start(given)
        other = await start(given, identity=OTHER)
        assert (other.step, other.number) == (Step.CREATED, 1)
        assert other.job.ref != first.job.ref


def with_folder(manifest: Manifest) -> Manifest:
    """Return a job whose runner mounts its files, in a ConfigMap that has the job's name."""
    runner = manifest["spec"]["job"]
    folder = {"name": "code", "configMap": {"name": files_name(manifest["metadata"]["name"])}}
    mounted = {"files": {"a.py": ""}, "spec": {**runner["spec"], "volumes": [folder]}}
    return {**manifest, "spec": {**manifest["spec"], "job": {**runner, **mounted}}}


@twins
async def test_an_active_job_with_another_spec(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    changed = with_folder(job(code="print(2)"))
    async with given_client(with_crds, namespace, form) as given, cancelling(given):
        first = await start(given)
        with pytest.raises(Conflict, match=f"{first.job.name} runs with another spec; cancel it"):
            await start(given, changed, on_conflict="fail")
        assert (await start(given, changed)).job.ref == first.job.ref
        replaced = await start(given, changed, on_conflict="replace")
        assert (replaced.step, replaced.number) == (Step.CREATED, 2)
        assert (await given.client.get(first.job.ref)).status.phase == "Cancelled"
        again = await start(given, changed, on_conflict="fail")
        assert (again.step, again.job.ref) == (Step.ADOPTED, replaced.job.ref)


async def test_a_job_that_was_deleted_is_followed_by_one_of_its_name_or_of_the_next(
    with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        first = await start(given)
        await given.remove(first.job.ref)
        second = await start(given, number=first.number)
        assert (second.step, second.job.name) == (Step.CREATED, first.job.name)
        assert second.job.ref != first.job.ref
        # One that a finalizer keeps is followed by the next.
        held = {"metadata": {"finalizers": ["example.com/held"]}}
        await given.admin.patch(given.object_ref(second.job.ref), held)
        await given.remove(second.job.ref)
        third = await start(given)
        assert (third.step, third.number) == (Step.CREATED, 2)
        await given.admin.patch(
            given.object_ref(second.job.ref), {"metadata": {"finalizers": None}}
        )


async def test_a_stored_number_finds_a_job_without_its_labels(
    with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        first = await start(given, number=4)
        assert first.number == 4
        without: dict[str, Any] = {"metadata": {"labels": None}}
        await given.admin.patch(given.object_ref(first.job.ref), without)
        for stored in (4, 4):
            found = await start(given, job(code="changed"), number=stored)
            assert (found.step, found.job.ref) == (Step.ADOPTED, first.job.ref)
        await given.report(first.job.ref, FAILED)
        assert (await start(given, number=4)).number == 5


async def test_a_name_of_another_submission_is_a_conflict(
    with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        await given.client.submit(job(f"sums-{TASK.digest[:10]}-g1"))
        with pytest.raises(Conflict, match="belongs to another submission"):
            await start(given)


async def test_the_manifests_namespace_counts(with_crds: Cluster, namespace: str) -> None:
    async with given_client(with_crds, "default", "async") as given:
        manifest = job()
        manifest["metadata"]["namespace"] = namespace
        first = await start(given, manifest)
        assert first.job.ref.namespace == namespace
        assert (await start(given, manifest)).job.ref == first.job.ref


@twins
async def test_tries_at_the_same_time_have_one_job(
    form: str, with_crds: Cluster, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        found = await asyncio.gather(*(start(given) for _ in range(6)))
        assert len({each.job.ref for each in found}) == 1
        await given.report(found[0].job.ref, FAILED)
        found = await asyncio.gather(*(start(given) for _ in range(6)))
        assert {each.number for each in found} == {2}
        assert len(await jobs(given)) == 2


async def test_a_cancelled_job_that_does_not_end_is_named(
    with_crds: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CANCEL_SECONDS", 0.1)
    async with given_client(with_crds, namespace, "async") as given:
        first = await start(given)
        await taken(given, first.job.ref)
        with pytest.raises(Timeout, match=f"{first.job.name}, the job of an earlier try, was"):
            await start(given)
        assert len(await jobs(given)) == 1


async def test_lost_answers_and_an_unhealthy_server_make_no_second_job(
    with_crds: Cluster, namespace: str
) -> None:
    for name, fault in (("a", lose_answer()), ("b", answer(503)), ("c", answer(500))):
        identity = Identity("airflow", (name,))
        async with given_client(with_crds, namespace, "async") as given:
            given.proxy.on(fault, verb="create", resource="daskjobs")
            assert (await start(given, identity=identity)).number == 1
            mine = await given.client.list(labels=identity.selector)
            assert len(mine) == 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("history", ["none", "failed", "taken", "active and taken", "replaced"])
async def test_a_try_that_ends_at_any_request_leaves_one_job_for_a_generation(
    history: str, when: str, with_crds: Cluster, namespace: str
) -> None:
    """The next try continues; there is never a second active job."""
    for point in range(MANY):
        identity = Identity("airflow", (history, str(point)))
        async with given_client(with_crds, namespace, "async") as given, cancelling(given):
            options, expected = await past(given, identity, history)
            reached = await killed_at(given, point, when, identity, options)
            active = await active_of(given, identity)
            assert len(active) <= 1, point
            found = await start(given, job(code="new"), identity, **options)
            assert found.number == expected, point
            assert [each.ref for each in await active_of(given, identity)] == [found.job.ref]
            numbers = [each.name for each in await given.client.list(labels=identity.selector)]
            assert len(numbers) == expected
            if not reached:
                return
    pytest.fail("the rule sends requests without end")


async def past(given: Given, identity: Identity, history: str) -> tuple[dict[str, Any], int]:
    """Make the last job of a task; return the options of the next try, and its generation."""
    if history == "none":
        return {}, 1
    ref = (await start(given, job(code="old"), identity)).job.ref
    if history == "failed":
        await given.report(ref, FAILED)
    if history == "taken":
        await given.report(ref, SUCCEEDED)
    if history.endswith("taken"):
        await taken(given, ref)
    return ({"on_conflict": "replace"} if history == "replaced" else {}), 2


async def killed_at(
    given: Given, point: int, when: str, identity: Identity, options: dict[str, Any]
) -> bool:
    """Start a generation, and end that before or after its n-th request; return whether it did."""
    task: asyncio.Task[Generation]

    async def kill() -> None:
        task.cancel()

    # A watch ends no earlier than its client: its end is that of the next request.
    fault = {"before": before, "after": after}[when](kill)
    rule = given.proxy.on(fault, when=lambda request: not request.streams, skip=point)
    async with AsyncJobClient(
        given.namespace, credentials=lambda: Plain(Access(given.proxy.url)), notify=print
    ) as client:
        task = asyncio.create_task(
            start_generation_async(client, job(code="new"), identity, **options)
        )
        with suppress(asyncio.CancelledError):
            await task
    rule.end()
    return rule.hits > 0


async def active_of(given: Given, identity: Identity) -> list[Job]:
    found = await given.client.list(labels=identity.selector)
    return [each for each in found if not each.status.finished]


PROGRAM = """
import json, sys
from daskjob import JobClient
from daskjob.submit.generations import Identity, start_generation

given = json.loads(sys.argv[1])
client = JobClient(given["namespace"], kubeconfig=given["kubeconfig"])
found = start_generation(client, given["job"], Identity("airflow", tuple(given["parts"])))
print(found.number, found.step, found.job.name)
"""


@pytest.mark.parametrize("verb", ["list", "create"])
async def test_a_killed_process_is_followed_by_one_that_continues(
    verb: str, with_crds: Cluster, namespace: str, tmp_path: Path
) -> None:
    async with given_client(with_crds, namespace, "async") as given:
        config = given.proxy.write_kubeconfig(tmp_path / "config")
        values = {"namespace": namespace, "kubeconfig": str(config), "job": job()}
        program = json.dumps({**values, "parts": TASK.parts})
        process = await run(program)

        async def kill() -> None:
            os.kill(process.pid, signal.SIGKILL)

        given.proxy.on(after(kill), verb=verb, resource="daskjobs")
        assert await process.wait() == -signal.SIGKILL
        made = 1 if verb == "create" else 0
        if made:
            await until(given.client.list)
        assert len(await jobs(given)) == made
        process = await run(program)
        printed, _ = await process.communicate()
        step = "Adopted" if made else "Created"
        assert printed.decode().split() == ["1", step, f"sums-{TASK.digest[:10]}-g1"]
        assert len(await jobs(given)) == 1


async def run(program: str) -> asyncio.subprocess.Process:
    command = (sys.executable, "-c", PROGRAM, program)
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
