"""The logs of all workers of a cluster as one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from daskjob.core.errors import NotFound
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.kube.objects import get_object
from daskjob.submit.jobs import JobRef
from tests.client.given import RUNNING, SUCCEEDED, Given, given_client, job, twins
from tests.client.test_logs import runner, text_of
from tests.cluster.plugin import Kubernetes, fresh_namespace
from tests.cluster.proxy import answer, breaks_after, reset
from tests.waiting import until


@pytest.fixture(scope="module")
def image(with_crds: Kubernetes) -> str:
    return with_crds.image("dask")


@pytest.fixture
def namespace(with_crds: Kubernetes, request: pytest.FixtureRequest) -> Iterator[str]:
    with fresh_namespace(with_crds, request.node) as name:
        yield name


def worker(ref: JobRef, image: str, suffix: str, code: str) -> Manifest:
    pod = runner(ref, image, code)
    pod["metadata"]["name"] = f"{ref.name}-default-worker-{suffix}"
    pod["metadata"]["labels"]["dask.org/component"] = "worker"
    return pod


async def running(given: Given, image: str, codes: dict[str, str]) -> JobRef:
    """Submit a job whose workers run these programs."""
    ref: JobRef = await given.client.submit(job())
    for suffix, code in codes.items():
        await given.admin.create(worker(ref, image, suffix, code))
    await given.report(ref, RUNNING)
    return ref


async def ended(given: Given, ref: JobRef, *suffixes: str) -> None:
    async def over() -> bool:
        pods = [
            await get_object(
                given.admin,
                ObjectRef("Pod", ref.namespace, f"{ref.name}-default-worker-{suffix}"),
            )
            for suffix in suffixes
        ]
        return all(pod["status"].get("phase") == "Succeeded" for pod in pods)

    await until(over, pause=0.1)


def printing(*moments: float, base: float) -> str:
    """Return a program that prints these moments after a common start."""
    return (
        "import time\n"
        f"for moment in {moments!r}:\n"
        f"    time.sleep(max(0, {base} + moment - time.time())); print('at', moment, flush=True)"
    )


@twins
async def test_the_logs_of_workers_are_merged_by_time(
    form: str, with_crds: Kubernetes, image: str, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        import time

        base = time.time() + 6
        moments = {"a": (0.0, 0.9), "b": (0.3, 0.6), "c": (0.45, 1.2)}
        codes = {name: printing(*when, base=base) for name, when in moments.items()}
        ref = await running(given, image, codes)
        await given.admin.create(runner(ref, image, "print('the runner')"))
        following = asyncio.create_task(text_of(given.client.logs(ref, pod="worker", follow=True)))
        await ended(given, ref, *codes)
        text = await text_of(given.client.logs(ref, pod="worker"))
        expected = sorted((at, name) for name, when in moments.items() for at in when)
        assert text == "".join(f"[worker-{name}] at {at}\n" for at, name in expected)
        for tail in (0, 1, 4):
            last = await text_of(given.client.logs(ref, pod="worker", tail=tail))
            assert last == "".join(text.splitlines(keepends=True)[6 - tail :])
        for name in ("a", "worker-a", "sums-default-worker-a"):
            assert await text_of(given.client.logs(ref, worker=name)) == "at 0.0\nat 0.9\n"
        with pytest.raises(NotFound, match="workers that have one: worker-a, worker-b, worker-c"):
            await text_of(given.client.logs(ref, worker="d"))
        late = datetime.fromtimestamp(base + 60, UTC)
        assert await text_of(given.client.logs(ref, pod="worker", since=late)) == ""
        await given.report(ref, SUCCEEDED)
        assert sorted((await following).splitlines()) == sorted(text.splitlines())


async def test_each_line_of_all_workers_comes_once_over_disconnects(
    with_crds: Kubernetes, image: str, namespace: str
) -> None:
    code = "import time\nfor n in range(40): print(n, flush=True); time.sleep(0.1)"
    async with given_client(with_crds, namespace, "async") as given:
        ref = await running(given, image, {"a": code, "b": code})
        for fault in (breaks_after(30), reset(), answer(503), breaks_after(0)):
            given.proxy.on(fault, skip=1, when=lambda r: r.subresource == "log")
        following = asyncio.create_task(text_of(given.client.logs(ref, pod="worker", follow=True)))
        await until(lambda: any(r.subresource == "log" for r in given.proxy.seen))
        # A worker that starts later is followed too.
        await given.admin.create(worker(ref, image, "c", code))
        await ended(given, ref, "a", "b", "c")
        await given.report(ref, SUCCEEDED)
        lines = (await following).splitlines()
        for name in "abc":
            prefix = f"[worker-{name}] "
            own = [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]
            assert own == [str(number) for number in range(40)]
        assert len(lines) == 120


@twins
async def test_a_job_without_workers_has_no_such_log(
    form: str, with_crds: Kubernetes, namespace: str
) -> None:
    async with given_client(with_crds, namespace, form) as given:
        ref = await given.client.submit(job())
        with pytest.raises(NotFound, match="logs of this job: none"):
            await text_of(given.client.logs(ref, pod="worker"))
        await given.report(ref, SUCCEEDED)
        for follow in (False, True):
            with pytest.raises(NotFound, match="logs of this job: none"):
                await text_of(given.client.logs(ref, pod="worker", follow=follow))
