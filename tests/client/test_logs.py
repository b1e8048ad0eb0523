"""Logs of real pods: every line once, over disconnects, from attempt to attempt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from daskjob.core.errors import Forbidden, NotFound, UserFailure
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.core.names import runner_name
from daskjob.kube import logs as kube_logs
from daskjob.kube.objects import get_object
from daskjob.submit.jobs import JobRef
from tests.client.given import FAILED, RUNNING, SUCCEEDED, Given, given_client, job, twins
from tests.cluster.plugin import Kubernetes, fresh_namespace
from tests.cluster.proxy import answer, breaks_after, ends_after, hang, reset
from tests.waiting import until


@pytest.fixture(scope="module")
def image(with_crds: Kubernetes) -> str:
    return with_crds.image("dask")


@pytest.fixture
def namespace(with_crds: Kubernetes, request: pytest.FixtureRequest) -> Iterator[str]:
    with fresh_namespace(with_crds, request.node) as name:
        yield name


def runner(ref: JobRef, image: str, code: str, attempt: int = 0) -> Manifest:
    """Return the runner of an attempt, as the operator makes it."""
    owner = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskJob",
        "name": ref.name,
        "uid": ref.uid,
        "controller": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": runner_name(ref.name, attempt),
            "namespace": ref.namespace,
            "ownerReferences": [owner],
            "labels": {"dask.org/cluster-name": ref.name, "dask.org/component": "job-runner"},
        },
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "job",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-u", "-c", code],
                }
            ],
        },
    }


async def started(given: Given, image: str, code: str) -> JobRef:
    """Submit a job whose runner runs this code."""
    ref: JobRef = await given.client.submit(job())
    await given.admin.create(runner(ref, image, code))
    await given.report(ref, RUNNING)
    return ref


async def exited(given: Given, ref: JobRef, attempt: int = 0) -> None:
    """Wait until the runner has ended."""
    pod = ObjectRef("Pod", ref.namespace, runner_name(ref.name, attempt))

    async def over() -> bool:
        found = await get_object(given.admin, pod)
        return kube_logs.has_ended(found, "job")

    await until(over, pause=0.1)


async def text_of(chunks: AsyncIterator[Any]) -> str:
    return b"".join([chunk.data async for chunk in chunks]).decode()


#: Two hundred lines in bursts, many of them equal.
BURSTS = """
import time
for burst in range(20):
    for line in range(10):
        print("line", burst, line // 5)
    time.sleep(0.15)
print("end", end="")
"""
BURSTS_TEXT = (
    "".join(f"line {burst} {line // 5}\n" for burst in range(20) for line in range(10)) + "end"
)


@twins
async def test_a_followed_log_is_complete_over_any_disconnects(
    form: str, with_crds: Kubernetes, image: str, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await started(given, image, BURSTS)
        for size in (0, 1, 40, 333, 1000, 2000):
            given.proxy.on(breaks_after(size), when=lambda r: r.subresource == "log")
        given.proxy.on(answer(503), when=lambda r: r.subresource == "log")
        given.proxy.on(reset(), when=lambda r: r.subresource == "log")
        given.proxy.on(answer(500, "kubelet is away"), verb="get", resource="pods", skip=2)
        following = asyncio.create_task(text_of(given.client.logs(ref, follow=True)))
        await exited(given, ref)
        await given.report(ref, SUCCEEDED)
        assert await following == BURSTS_TEXT
        assert await text_of(given.client.logs(ref)) == BURSTS_TEXT


@twins
@pytest.mark.parametrize("sizes", [(100, 3000, 5000), (5000, 3000, 100), (4000, 4000, 0)])
async def test_responses_that_end_too_early_without_an_error_lose_no_line(
    form: str, sizes: tuple[int, ...], with_crds: Kubernetes, image: str, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await started(given, image, BURSTS)
        await exited(given, ref)
        await given.report(ref, SUCCEEDED)
        for size in sizes:
            given.proxy.on(ends_after(size), when=lambda r: r.subresource == "log")
        assert await text_of(given.client.logs(ref, follow=True)) == BURSTS_TEXT
        assert all(rule.hits for rule in given.proxy.rules)


async def test_two_hundred_thousand_lines_come_once_over_twenty_disconnects(
    with_crds: Kubernetes, image: str, namespace: str
) -> None:
    code = "for number in range(200000): print(number)"
    async with given_client(with_crds, namespace, "async") as given:
        ref = await started(given, image, f"import sys; sys.stdout = open(1, 'w')\n{code}")
        for number in range(20):
            # All lines are of a few seconds, which are sent again after each disconnect.
            size = 300_000 * (number + 1) + number
            given.proxy.on(breaks_after(size), when=lambda r: r.subresource == "log")
        following = asyncio.create_task(text_of(given.client.logs(ref, follow=True)))
        await exited(given, ref)
        await given.report(ref, SUCCEEDED)
        assert await following == "".join(f"{number}\n" for number in range(200_000))
        assert all(rule.hits for rule in given.proxy.rules)


@twins
async def test_a_silent_log_is_followed_over_a_half_open_connection(
    form: str, with_crds: Kubernetes, image: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_logs, "IDLE_SECONDS", 0.5)
    code = "import time; print('begin'); time.sleep(3); print('end')"
    async with given_client(with_crds, namespace, form) as given:
        ref = await started(given, image, code)
        given.proxy.on(hang(), when=lambda r: r.subresource == "log")
        following = asyncio.create_task(text_of(given.client.logs(ref, follow=True)))
        await exited(given, ref)
        await given.report(ref, SUCCEEDED)
        assert await following == "begin\nend\n"


@twins
async def test_a_follower_goes_on_after_the_server_was_away(
    form: str, with_crds: Kubernetes, image: str, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await started(given, image, BURSTS)
        following = asyncio.create_task(text_of(given.client.logs(ref, follow=True)))
        await until(lambda: any(p.request.subresource for p in given.proxy.watching))
        async with given.proxy.away():
            await asyncio.sleep(0.5)
        await exited(given, ref)
        await given.report(ref, SUCCEEDED)
        assert await following == BURSTS_TEXT


ENDED_ATTEMPT = {
    "number": 0,
    "runnerPodName": "sums-runner",
    "startTime": "2026-01-01T00:00:00Z",
    "endTime": "2026-01-01T00:00:00Z",
    "exitCode": 3,
    "reason": "ExitCode",
    "message": "it exited with 3.",
}


@twins
async def test_a_follower_goes_from_attempt_to_attempt(
    form: str, with_crds: Kubernetes, image: str, namespace: str
) -> None:
    retrying = {**RUNNING, "jobStatus": "JobCreated", "attempts": [ENDED_ATTEMPT]}
    second = {**RUNNING, "attempt": 1, "attempts": [ENDED_ATTEMPT]}
    async with given_client(with_crds, namespace, form) as given:
        ref = await started(given, image, "print('first'); raise SystemExit(3)")
        following = asyncio.create_task(text_of(given.client.logs(ref, follow=True)))
        await exited(given, ref)
        await given.report(ref, retrying)
        await given.report(ref, {**second, "jobStatus": "ClusterCreated"})
        await given.admin.create(runner(ref, image, "print('second')", attempt=1))
        await given.report(ref, second)
        await exited(given, ref, attempt=1)
        await given.report(ref, {**SUCCEEDED, "attempt": 1})
        assert await following == "first\nsecond\n"
        assert await text_of(given.client.logs(ref, attempt=0)) == "first\n"
        assert await text_of(given.client.logs(ref)) == "second\n"
        assert await text_of(given.client.logs(ref, pod="sums-runner-1")) == "second\n"


@twins
@pytest.mark.parametrize("tail", [0, 1, 15])
async def test_a_tail_is_followed_without_a_gap(
    form: str, tail: int, with_crds: Kubernetes, image: str, namespace: str
) -> None:
    code = (
        "import os, time\nfor n in range(20): print('old', n)\n"
        "while not os.path.exists('/tmp/go'): time.sleep(0.05)\n"
        "for n in range(20): print('new', n)"
    )
    new = "".join(f"new {number}\n" for number in range(20))
    old = "".join(f"old {number}\n" for number in range(20 - tail, 20))
    async with given_client(with_crds, namespace, form) as given:
        ref = await started(given, image, code)
        await until(lambda: _has_log(given, ref, "old 19"), pause=0.1)
        given.proxy.on(breaks_after(3), when=lambda r: "follow" in r.query)
        following = asyncio.create_task(text_of(given.client.logs(ref, follow=True, tail=tail)))
        await until(lambda: any("follow" in r.query for r in given.proxy.seen))
        # In the background: the container ends at once, and with it every process that is in it.
        touch = "(sleep 0.5; touch /tmp/go) >/dev/null 2>&1 &"
        with_crds.kubectl("exec", f"-n{namespace}", "sums-runner", "--", "sh", "-c", touch)
        await exited(given, ref)
        await given.report(ref, SUCCEEDED)
        assert await following == old + new


async def _has_log(given: Given, ref: JobRef, text: str) -> bool:
    try:
        return text in await text_of(given.client.logs(ref))
    except NotFound:
        return False


@twins
async def test_a_missing_log_is_not_found_and_the_message_names_the_others(
    form: str, with_crds: Kubernetes, image: str, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await started(given, image, "print('first')")
        for which in ({"attempt": 7}, {"pod": "scheduler"}, {"pod": "nothing"}):
            with pytest.raises(NotFound, match="logs of this job: sums-runner"):
                await text_of(given.client.logs(ref, **which))


@twins
async def test_a_log_that_is_gone_is_reported_as_such(
    form: str, with_crds: Kubernetes, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        started_at = {"attempt": 1, "attemptStartTime": "2026-01-01T00:00:00Z"}
        await given.report(ref, {**SUCCEEDED, **started_at})
        for which, message in (
            ({"attempt": 0}, "the pod sums-runner was deleted, and its log with it"),
            ({}, "the pod sums-runner-1 was deleted, and its log with it"),
            ({"attempt": 2}, "attempt 2 has not begun"),
            ({"pod": "worker"}, r"deleted with their logs after the job ended \(spec.del"),
            ({"pod": "scheduler"}, r"deleted with their logs after the job ended \(spec.del"),
            ({"worker": "1a2b3c"}, r"deleted with their logs after the job ended \(spec.del"),
            ({"pod": "scheduler", "attempt": 0}, "deleted with their logs after attempt 0 ended"),
        ):
            with pytest.raises(NotFound, match=f"{message}.*; logs of this job: none"):
                await text_of(given.client.logs(ref, **which))


@twins
async def test_since_begins_with_the_second_of_a_moment(
    form: str, with_crds: Kubernetes, image: str, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        code = "import time\nfor n in range(4): print(n, time.time(), flush=True); time.sleep(1)"
        ref = await started(given, image, code)
        await exited(given, ref)
        moments = [
            float(line.split()[1]) for line in (await text_of(given.client.logs(ref))).splitlines()
        ]
        since = datetime.fromtimestamp(moments[2], UTC)
        for follow in (False, True):
            await given.report(ref, SUCCEEDED)
            text = await text_of(given.client.logs(ref, follow=follow, since=since))
            assert [line[0] for line in text.splitlines()] == ["2", "3"]
        text = await text_of(given.client.logs(ref, tail=1, since=since))
        assert text[0] == "3"


@twins
async def test_the_log_of_another_job_of_the_same_name_is_not_shown(
    form: str, with_crds: Kubernetes, image: str, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        stranger = JobRef(ref.name, ref.namespace, "3b7f0f4e-0000-0000-0000-000000000000")
        given_pod = runner(stranger, image, "print('secret')")
        del given_pod["metadata"]["ownerReferences"]
        await given.admin.create(given_pod)
        await given.report(ref, SUCCEEDED)
        with pytest.raises(NotFound):
            await text_of(given.client.logs(ref))
        assert await text_of(given.client.logs(ref, follow=True)) == ""


@twins
async def test_a_log_that_cannot_be_read_fails_no_job(
    form: str, with_crds: Kubernetes, image: str, namespace: str
) -> None:
    denied = 'pods "sums-runner" is forbidden: User "me" cannot get resource "pods/log"'
    async with given_client(with_crds, namespace, form) as given:
        ref = await started(given, image, "print('first'); raise SystemExit(3)")
        await exited(given, ref)
        await given.report(ref, FAILED)
        with pytest.raises(UserFailure) as caught:
            await given.client.wait(ref)
        assert caught.value.log_tail == "first\n"
        given.proxy.on(answer(403, denied, "Forbidden"), verb="get", resource="pods", times=None)
        with pytest.raises(Forbidden, match=r"resources: \[pods/log\]"):
            await text_of(given.client.logs(ref))
        with pytest.raises(UserFailure) as caught:
            await given.client.wait(ref)
        assert caught.value.log_tail == ""
        assert (await given.client.why(ref)).headline == (
            "sums failed (ExitCode): the runner exited with 3."
        )


@twins
async def test_a_log_ends_when_its_reader_stops(
    form: str, with_crds: Kubernetes, image: str, namespace: str
) -> None:
    code = "import time\nwhile True: print('again'); time.sleep(0.05)"
    async with given_client(with_crds, namespace, form) as given:
        ref = await started(given, image, code)
        chunks = given.client.logs(ref, follow=True)
        assert b"again" in (await anext(chunks)).data
        await chunks.aclose()
        await until(lambda: not any(p.request.subresource for p in given.proxy.watching))
