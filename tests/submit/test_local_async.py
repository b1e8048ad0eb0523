"""The jobs of this machine from an event loop: the same calls as those of its twin."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path

import pytest

from daskjob import AsyncJobClient
from daskjob.core.errors import Conflict, NotFound, Timeout, UserFailure
from daskjob.submit.local import LocalJobs
from daskjob.submit.local_async import AsyncLocalJobs
from tests.submit.test_local_submit import SUMS, job
from tests.waiting import until

WAITS = """
import pathlib, time
print("waiting", flush=True)
while not pathlib.Path("go").exists():
    time.sleep(0.05)
print("went")
raise SystemExit(4)
"""
#: For a process of this machine only; what a program needs is ``run_again``'s caller.
OWN = {"run_again", "earlier_run", "is_live"}


@asynccontextmanager
async def opened() -> AsyncIterator[AsyncLocalJobs]:
    async with AsyncJobClient.local() as client:
        yield client
        for found in await client.list():
            await client.cancel(found.ref)
            await client.wait(found.ref, timeout_seconds=60, raise_on_failure=False)


@pytest.fixture
def client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AbstractAsyncContextManager[AsyncLocalJobs]:
    monkeypatch.setenv("DASKJOB_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return opened()


def public(of: type) -> dict[str, Callable[..., object]]:
    methods = inspect.getmembers(of, inspect.isfunction)
    return {name: method for name, method in methods if name[0] != "_" and name not in OWN}


def test_the_twins_have_the_same_methods_and_parameters() -> None:
    blocking, other = public(LocalJobs), public(AsyncLocalJobs)
    assert set(blocking) == set(other)
    for name, method in blocking.items():
        wanted = dict(inspect.signature(method).parameters)
        if name == "list":
            del wanted["namespace"]
        assert list(inspect.signature(other[name]).parameters) == list(wanted), name


async def test_a_job_is_followed_suspended_scaled_and_run_again(
    client: AsyncLocalJobs, tmp_path: Path
) -> None:
    ref = await client.submit(job(WAITS))
    text = b""
    async with aclosing(client.logs(ref, follow=True)) as chunks:
        async for chunk in chunks:
            text += chunk.data
            if text == b"waiting\n":
                break
    with pytest.raises(Timeout, match="has not ended within 0 s"):
        await client.wait(ref, timeout_seconds=0)
    with pytest.raises(Conflict, match="has not ended"):
        await client.retry(ref)
    await client.suspend(ref)

    async def is_suspended() -> bool:
        return (await client.get(ref)).status.suspended

    await until(is_suspended)
    await client.scale(ref, 1)
    await client.scale(ref, 0)
    assert (await client.why(ref)).command == f"daskjob resume {ref.name}"
    (tmp_path / "go").touch()
    await client.resume(ref)
    phases = [state.status.phase async for state in client.watch(ref)]
    assert phases[-1] == "Failed"
    with pytest.raises(UserFailure):
        await client.wait(ref)
    again = await client.retry(ref)
    assert again.name.startswith(f"{ref.name}-")
    ended = await client.wait(again, raise_on_failure=False)
    assert ended.status.exit_code == 4
    assert [each.name for each in await client.list()] == [again.name, ref.name]
    await client.delete(again)
    with pytest.raises(NotFound):
        await client.retry(again)


async def test_waits_are_cancelled_at_once(client: AsyncLocalJobs, tmp_path: Path) -> None:
    ref = await client.submit(job(WAITS))

    async def watched() -> None:
        async for _ in client.watch(ref):
            pass

    async def read() -> None:
        async for _ in client.logs(ref, follow=True):
            pass

    for wait in (client.wait(ref), watched(), read()):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await wait
    (tmp_path / "go").touch()
    assert (await client.wait(ref, raise_on_failure=False)).status.exit_code == 4


async def test_result_and_errors_are_those_of_the_twin(client: AsyncLocalJobs) -> None:
    ref = await client.submit(job(SUMS))
    await client.wait(ref)
    assert await client.result(ref) == {"total": 3}
    assert b"".join([chunk.data async for chunk in client.logs(ref)]) == b"adding\n"
    with pytest.raises(NotFound, match="no such log"):
        [chunk async for chunk in client.logs(ref, pod="absent")]
    assert await client.names() == (ref.name,)
    assert await client.images(ref) == ()
    assert (await client.find()).ref == ref
    assert "Started" in [event.reason for event in await client.events(ref)]
