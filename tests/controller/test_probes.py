"""The probes' server over real connections: its answers, and bad or slow clients."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from daskjob.controller.probes import (
    HEALTHZ,
    METRICS,
    READYZ,
    Address,
    Answer,
    Route,
    address_of,
    health,
    serving,
)

ROUTES: dict[str, Route] = {
    HEALTHZ: lambda: Answer(200, "ok\n"),
    READYZ: lambda: Answer(503, "the first lists are not complete\n"),
    METRICS: lambda: Answer(200, "depth 1\n", "text/plain; version=0.0.4"),
}
ANY_PORT = Address("127.0.0.1", 0)


async def send(address: Address, request: bytes) -> str:
    """Send bytes and return everything received until the connection is closed."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            return (await reader.read()).decode()
    except ConnectionError:
        return ""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def get(address: Address, path: str, method: str = "GET") -> tuple[int, str]:
    """Return the code and the body of an answer."""
    answer = await send(address, f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


@contextlib.asynccontextmanager
async def server(address: Address = ANY_PORT) -> AsyncIterator[Address]:
    async with serving([address], ROUTES) as (used,):
        yield used


async def test_probes_and_metrics_are_answered() -> None:
    async with server() as address:
        assert await get(address, "/healthz") == (200, "ok\n")
        assert await get(address, "/readyz") == (503, "the first lists are not complete\n")
        assert await get(address, "/metrics?name=a") == (200, "depth 1\n")
        assert await get(address, "/healthz", "HEAD") == (200, "")


async def test_answer_has_its_type_and_length_and_closes_the_connection() -> None:
    async with server() as address:
        answer = await send(address, b"GET /metrics HTTP/1.1\r\n\r\n")
    assert "Content-Type: text/plain; version=0.0.4\r\n" in answer
    assert "Content-Length: 8\r\n" in answer
    assert "Cache-Control: no-store\r\n" in answer


async def test_liveness_is_answered_under_the_configured_path_too() -> None:
    async with server(Address("127.0.0.1", 0, "/alive")) as address:
        assert await get(address, "/alive") == (200, "ok\n")
        assert await get(address, "/healthz") == (200, "ok\n")


async def test_two_addresses_get_two_servers_and_the_same_one_gets_one() -> None:
    first = Address("127.0.0.1", 0)
    async with serving([first, first, Address("localhost", 0)], ROUTES) as used:
        assert len(used) == 2
        for address in used:
            assert (await get(address, "/healthz"))[0] == 200


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"POST /healthz HTTP/1.1\r\n\r\n", 405),
        (b"GET /secret HTTP/1.1\r\n\r\n", 404),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"hello\r\n\r\n", 400),
        (b"GET /healthz SPDY/3\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
    ],
)
async def test_other_requests_are_rejected(request_bytes: bytes, code: int) -> None:
    async with server() as address:
        assert (await send(address, request_bytes)).startswith(f"HTTP/1.1 {code} ")


async def test_oversized_request_gets_no_answer_and_does_no_harm() -> None:
    async with server() as address:
        assert await send(address, b"GET /" + b"a" * 100_000) == ""
        assert await get(address, "/healthz") == (200, "ok\n")


async def test_silent_client_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daskjob.controller.probes.REQUEST_SECONDS", 0.05)

    async with server() as address:
        assert await send(address, b"GET /heal") == ""


async def test_many_silent_clients_do_not_block_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("daskjob.controller.probes.REQUEST_SECONDS", 0.2)

    async with server() as address:
        crowd = [asyncio.create_task(send(address, b"GET")) for _ in range(100)]
        await asyncio.gather(*crowd)
        assert await get(address, "/healthz") == (200, "ok\n")


def test_connection_open_at_the_end_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with server() as address:
            waiting = asyncio.create_task(send(address, b"GET"))
            await get(address, "/healthz")
        assert await waiting == ""

    asyncio.run(story(), debug=True)
    assert "Exception" not in caplog.text


async def test_address_in_use_is_an_error_at_the_start() -> None:
    async with server() as address:
        with pytest.raises(OSError, match="address already in use"):
            async with serving([address], ROUTES):
                pass


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://0.0.0.0:8080/healthz", Address("0.0.0.0", 8080, "/healthz")),
        ("http://:8080/live", Address("localhost", 8080, "/live")),
        ("http://localhost", Address("localhost", 80, "/healthz")),
        ("http://[::]:8080/", Address("::", 8080, "/healthz")),
    ],
)
def test_url_is_parsed_into_an_address(url: str, address: Address) -> None:
    assert address_of(url) == address


@pytest.mark.parametrize(
    "url", ["https://0.0.0.0:8080/", "8080", "0.0.0.0:8080", "http://", "http://a:port/", ""]
)
def test_other_urls_are_rejected(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        address_of(url)


def test_operator_is_alive_while_watches_receive_events_and_passes_run() -> None:
    assert health(0.0, 0.0) == health(119.0, 119.0) == Answer(200, "ok\n")


def test_operator_is_not_alive_when_a_watch_was_silent_for_2_minutes() -> None:
    answer = health(120.0, 0.0)
    assert answer.code == 503
    assert answer.text == "no watch event and no relist for 120 s\n"


def test_operator_is_not_alive_when_work_waited_for_2_minutes() -> None:
    assert health(200.0, 121.0).text.splitlines()[1] == (
        "passes are due, but none has run for 121 s"
    )
