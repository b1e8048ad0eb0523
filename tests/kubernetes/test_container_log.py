"""A followed log is complete although responses end too early without an error."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from daskjob.core.manifests import ObjectRef
from daskjob.kube.logs import ContainerLog, LogWish

POD = ObjectRef("Pod", "default", "sums-runner", "1")
LINES = b"".join(b"2026-01-01T00:00:00.%09dZ line %d\n" % (n, n // 3) for n in range(50))
TEXT = b"".join(b"line %d\n" % (n // 3) for n in range(50))
END = b"2026-01-01T00:00:00.9Z the end"
#: The size of the first lines, and of all.
LINE, ALL = 38, len(LINES)


class Served:
    """The log of a container that has ended, as an API server serves it."""

    def __init__(self, data: bytes, cuts: list[int | None]) -> None:
        self.data = data
        #: The number of bytes after which each response ends; ``None``, and later: all of it.
        self.cuts = cuts
        self.requests: list[Mapping[str, str]] = []

    @asynccontextmanager
    async def log(
        self, _pod: ObjectRef, query: Mapping[str, str], **_: Any
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        cut = self.cuts[len(self.requests)] if len(self.requests) < len(self.cuts) else None
        self.requests.append(query)
        lines = self.data.splitlines(keepends=True)
        tail = query.get("tailLines")
        yield self._chunks(b"".join(lines[-int(tail) :] if tail else lines)[:cut])

    async def _chunks(self, data: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100):
            yield data[start : start + 100]

    async def get(self, _pod: ObjectRef, **_: Any) -> bytes:
        metadata = {"name": POD.name, "namespace": POD.namespace, "uid": POD.uid}
        pod = {"kind": "Pod", "metadata": metadata, "status": {"phase": "Succeeded"}}
        return json.dumps(pod).encode()


async def followed(served: Served, tail: int | None = None) -> bytes:
    wish = LogWish(POD, "job", follow=True, tail=tail)
    log = ContainerLog(served, wish)  # type: ignore[arg-type]
    async with asyncio.timeout(30):
        return b"".join([lines async for lines in log.lines()])


@pytest.mark.parametrize(
    "cuts",
    [
        # A response that is shorter than those before has no new line.
        [ALL // 2, ALL // 3],
        [None, 10 * LINE, 0, 3 * LINE],
        [20 * LINE, 0],
        # In the middle of a line, which is no line without a newline.
        [10 * LINE + 30, 10 * LINE + 33],
        [5 * LINE, 20 * LINE + 35, 20 * LINE + 30],
        [0, ALL - 1, ALL - 2],
    ],
)
@pytest.mark.parametrize("end", [b"", END])
async def test_responses_that_are_cut_off_without_an_error_lose_no_line(
    cuts: list[int | None], end: bytes
) -> None:
    served = Served(LINES + end, cuts)
    assert await followed(served) == TEXT + (b"the end" if end else b"")


@pytest.mark.parametrize("cut", [1, 23, len(END) - 1])
async def test_a_last_line_without_a_newline_is_read_as_a_whole(cut: int) -> None:
    served = Served(LINES + END, [None, ALL + cut])
    assert await followed(served) == TEXT + b"the end"


@pytest.mark.parametrize("tail", [0, 1, 2])
@pytest.mark.parametrize("end", [b"", END])
async def test_a_tail_is_read_once(tail: int, end: bytes) -> None:
    served = Served(LINES + end, [])
    lines = TEXT.splitlines(keepends=True) + ([b"the end"] if end else [])
    assert await followed(served, tail) == (b"".join(lines[-tail:]) if tail else b"")
    assert len(served.requests) <= 4


@pytest.mark.parametrize("left", [b"", b"2026-01-01T00:00:07.5Z new\n"])
async def test_a_log_that_was_rotated_at_its_end_ends(left: bytes) -> None:
    served = Served(LINES, [])

    async def rotated() -> bytes:
        log = ContainerLog(served, LogWish(POD, "job", follow=True))  # type: ignore[arg-type]
        got = b""
        async for lines in log.lines():
            got += lines
            if got == TEXT:
                served.data = left
        return got

    async with asyncio.timeout(30):
        assert await rotated() == TEXT + (b"new\n" if left else b"")
    assert len(served.requests) < 12


@pytest.mark.parametrize("count", [0, 1, 50])
async def test_a_whole_log_takes_two_requests(count: int) -> None:
    lines = LINES.splitlines(keepends=True)[:count]
    served = Served(b"".join(lines), [])
    assert await followed(served) == b"".join(TEXT.splitlines(keepends=True)[:count])
    assert len(served.requests) == 2
