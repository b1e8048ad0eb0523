"""Questions of the local backend: beside the passes, one at a time, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from daskjob.backends.agent_answers import LIMIT_BYTES, NoAnswer
from daskjob.backends.local.agent_client import AgentClient
from daskjob.backends.local.backend import LocalBackend
from daskjob.backends.local.run_folder import RunFolder
from daskjob.core.decision import Retire
from daskjob.core.manifests import Manifest, ObjectRef, object_ref
from daskjob.core.pods import PodFacts, pod_facts
from tests.core.manifests import container, group, pod
from tests.waiting import until

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[str]:
    """Serve connections; yield the address."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A client may leave before its answer; the end of the test cancels what remains.
        with suppress(asyncio.CancelledError, ConnectionError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1")
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


def answering(text: bytes) -> Handler:
    """Serve one response, whatever was asked."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()

    return handle


class Silent:
    """A scheduler that accepts questions and answers when the test has it."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split()[1].decode())
        await self.answers.wait()
        body = b'{"retired": ["tcp://127.0.0.1:1"]}'
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + body)
        await writer.drain()


def made(backend: LocalBackend) -> tuple[ObjectRef, PodFacts]:
    """Create a worker group and a scheduler pod."""
    created = backend.store.create(group())
    scheduler: Manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "simple-scheduler", "namespace": "default"},
        "spec": pod(container("scheduler", "dask", "scheduler")),
    }
    return object_ref(created), pod_facts(backend.store.create(scheduler))


async def test_a_retirement_returns_at_once_and_its_answer_triggers_passes(tmp_path: Path) -> None:
    silent = Silent()
    async with listening(silent.handle) as address:
        backend = LocalBackend(RunFolder(tmp_path), address, address)
        owner, scheduler = made(backend)
        changes: list[None] = []
        backend.watch(lambda: changes.append(None))
        retire = Retire(("tcp://127.0.0.1:1",), 60, scheduler)
        async with asyncio.timeout(5):
            await backend.retire(owner, retire)
            await backend.retire(owner, retire)
        await until(lambda: silent.asked)
        assert not backend.retirements
        assert not changes
        silent.answers.set()
        await until(lambda: owner.uid in backend.retirements)
        assert silent.asked == ["/daskjob/v1/retire"], "the second request is the first one's"
        assert backend.retirements[owner.uid].retired == {*retire.addresses}
        assert changes


async def test_a_report_that_does_not_come_is_recorded_as_missing(tmp_path: Path) -> None:
    silent = Silent()
    async with listening(silent.handle) as address:
        backend = LocalBackend(RunFolder(tmp_path), address, address)
        owner, scheduler = made(backend)
        async with asyncio.timeout(1):
            await backend.collect_report(owner, scheduler)
        await until(lambda: scheduler.ref.uid in backend.reports, 10)
        assert backend.reports[scheduler.ref.uid].report is None
        assert not backend.is_asking


async def test_close_ends_pending_questions(tmp_path: Path) -> None:
    silent = Silent()
    async with listening(silent.handle) as address:
        backend = LocalBackend(RunFolder(tmp_path), address, address)
        owner, scheduler = made(backend)
        await backend.retire(owner, Retire(("tcp://127.0.0.1:1",), 60, scheduler))
        await until(lambda: silent.asked)
        async with asyncio.timeout(5):
            await backend.close()
        assert not backend.is_asking


async def test_an_answer_is_a_json_object() -> None:
    text = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"tasks": 1}'
    async with listening(answering(text)) as address:
        assert await AgentClient(address, "token").get("state") == {"tasks": 1}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"HTTP/1.0 200 OK\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.0 two OK\r\n\r\n{}",
        b"HTTP/1.0 404 Not Found\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\n\r\n[]",
        b"HTTP/1.0 200 OK\r\n\r\n\xff\xfe",
        b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 100_000,
        b"HTTP/1.0 200 OK\r\n\r\n" + b" " * LIMIT_BYTES + b"{}",
        b"HTTP/1.0 200 OK\r\n" + b"x" * 100_000 + b"\r\n\r\n{}",
    ],
)
async def test_other_answers_are_none(text: bytes) -> None:
    async with listening(answering(text)) as address:
        with pytest.raises(NoAnswer):
            await AgentClient(address, "token").get("state")


async def test_an_answer_of_a_byte_every_tenth_of_a_second_ends_after_2_s() -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.1)

    async with listening(drip) as address:
        async with asyncio.timeout(5):
            with pytest.raises(NoAnswer, match="within 2 s"):
                await AgentClient(address, "token").get("state")
