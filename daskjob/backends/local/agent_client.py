"""HTTP client of the scheduler's agent: bounded in time and size; answers are not trusted.

A request is HTTP/1.0 over a plain stream: it costs no thread, so that it can be cancelled at any
moment, and its time limit holds for all of it, also for a server that sends a byte at a time.
"""

from __future__ import annotations

import asyncio
import json

from daskjob.backends.agent_answers import LIMIT_BYTES, TIMEOUT_SECONDS, NoAnswer, check_answer
from daskjob.core.manifests import Manifest

#: The longest head of a response.
HEAD_BYTES = 64 * 1024


class AgentClient:
    """The agent of one scheduler."""

    def __init__(self, address: str, token: str, prefix: str = "") -> None:
        self._address = address
        self._token = token
        self._prefix = prefix

    async def get(self, route: str) -> Manifest:
        """Return the answer to a GET request.

        Raises
        ------
        NoAnswer
            No server listens, or the answer took longer than 2 s, is larger than 256 KiB or is
            not JSON.
        """
        return await self._ask("GET", route, b"", TIMEOUT_SECONDS)

    async def post(self, route: str, body: Manifest, timeout_seconds: float) -> Manifest:
        """Return the answer to a POST request that may take up to the given time."""
        return await self._ask("POST", route, json.dumps(body).encode(), timeout_seconds)

    async def _ask(self, method: str, route: str, body: bytes, timeout_seconds: float) -> Manifest:
        head = (
            f"{method} {self._prefix}/daskjob/v1/{route} HTTP/1.0\r\n"
            f"Host: {self._address}\r\n"
            f"Authorization: Bearer {self._token}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        try:
            async with asyncio.timeout(timeout_seconds):
                answered = await self._exchanged(head.encode() + body)
        except TimeoutError as error:
            raise NoAnswer(f"no answer within {timeout_seconds:g} s") from error
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise NoAnswer(str(error)) from error
        return _decoded(*answered)

    async def _exchanged(self, request: bytes) -> tuple[int, bytes]:
        """Return the status and the body of the response to a request."""
        host, _, port = self._address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=HEAD_BYTES)
        try:
            writer.write(request)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            return _status(head), await _body(reader)
        finally:
            writer.close()


def _status(head: bytes) -> int:
    """Return the status of a response's head.

    Raises
    ------
    ValueError
        It is not HTTP.
    """
    protocol, status = head.split(maxsplit=2)[:2]
    if not protocol.startswith(b"HTTP/"):
        raise ValueError("the answer is not HTTP")
    return int(status)


async def _body(reader: asyncio.StreamReader) -> bytes:
    """Return a body; one that is too long ends one byte above the limit."""
    text = bytearray()
    while len(text) <= LIMIT_BYTES:
        piece = await reader.read(LIMIT_BYTES + 1 - len(text))
        if not piece:
            break
        text += piece
    return bytes(text)


def _decoded(status: int, text: bytes) -> Manifest:
    check_answer(status, text)
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NoAnswer(f"the answer is not JSON: {error}") from error
    if not isinstance(answer, dict):
        raise NoAnswer("the answer is not a JSON object")
    return answer
