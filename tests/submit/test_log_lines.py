"""Lines of a log that match a pattern."""

from __future__ import annotations

import re

import pytest

from daskjob.submit.jobs import LogChunk
from daskjob.submit.log_lines import OPEN_LINE_BYTES, matching
from daskjob.submit.worker_names import NoSuchLog, worker_named


def found(pattern: str, *pieces: bytes, pod: str = "runner") -> bytes:
    chunks = [LogChunk(pod, piece) for piece in pieces]
    return b"".join(chunk.data for chunk in matching(chunks, re.compile(pattern)))


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ((b"one\ntwo\nthree\n",), b"two\nthree\n"),
        ((b"one\nt", b"w", b"o\nthr", b"ee"), b"two\nthree"),
        ((b"one\n\n", b"\nten\n"), b"ten\n"),
        ((b"",), b""),
        ((b"\xff t\xc3", b"\xbc\n"), b"\xff t\xc3\xbc\n"),
    ],
)
def test_whole_lines_match_however_they_are_cut(pieces: tuple[bytes, ...], lines: bytes) -> None:
    assert found("t", *pieces) == lines


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        (b"\x1b[31mERR\x1b[0mOR\n", "^ERROR$"),
        ("Müll\n".encode(), "M.ll"),
        (b"abc\r\n", "c\\s*$"),
    ],
)
def test_pattern_is_about_the_text(line: bytes, pattern: str) -> None:
    assert found(pattern, line) == line


def test_lines_of_two_pods_are_not_mixed() -> None:
    chunks = [LogChunk("a", b"er"), LogChunk("b", b"error b\nok"), LogChunk("a", b"ror a\n")]
    lines = [chunk.data for chunk in matching(chunks, re.compile("^error"))]
    assert lines == [b"error b\n", b"error a\n"]


def test_line_that_matches_is_not_held_back_for_the_next_one() -> None:
    def endless() -> object:
        yield LogChunk("a", b"no\nyes\n")
        raise AssertionError("the line was not yielded")

    assert next(matching(endless(), re.compile("yes"))).data == b"yes\n"  # type: ignore[arg-type]


def test_endless_line_does_not_fill_the_memory() -> None:
    piece = b"x" * OPEN_LINE_BYTES
    assert len(found("x", piece, piece, piece)) >= 3 * OPEN_LINE_BYTES


@pytest.mark.parametrize(
    "text", ["a-default-worker-0", "worker-0", "0", "gpu-worker-x1", "a-gpu-worker-x1"]
)
def test_worker_has_the_names_that_users_see(text: str) -> None:
    pods = ["a-default-worker-0", "a-default-worker-00", "a-gpu-worker-x1"]
    assert worker_named(text, pods, "a").endswith(text)


@pytest.mark.parametrize("text", ["1", "worker", "orker-0", ""])
def test_unknown_worker_is_reported_with_those_that_there_are(text: str) -> None:
    pods = [f"a-default-worker-{n}" for n in (0, *range(10, 40))]
    with pytest.raises(NoSuchLog, match=r"workers that have one: worker-0, .* and 11 more$"):
        worker_named(text, pods, "a")
