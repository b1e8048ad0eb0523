"""The line without a newline at the end of an output."""

from __future__ import annotations

import pytest

from daskjob.submit.cli.live import OPEN_LINE_BYTES, OpenLine


@pytest.mark.parametrize(
    ("pieces", "complete", "shown"),
    [
        ([b"one\ntwo"], [b"one"], b"two"),
        ([b"one", b" two", b"\n"], [None, None, b"one two"], b""),
        ([b"\r10%", b"\r20%"], [None, None], b"20%"),
        ([b"10%\r", b"20%\r"], [None, None], b"20%"),
        ([b"10%\r20%", b"\r\n"], [None, b"20%\r"], b""),
        ([b"one\r\ntwo\r\n"], [b"one\r\ntwo\r"], b""),
        ([b"a\nb\r", b"c"], [b"a", None], b"c"),
        ([b"a\r", b"\n"], [None, b"a\r"], b""),
        ([b""], [None], b""),
    ],
)
def test_a_line_is_shown_as_a_terminal_shows_it(
    pieces: list[bytes], complete: list[bytes | None], shown: bytes
) -> None:
    line = OpenLine()
    assert [line.completed_by(piece) for piece in pieces] == complete
    assert line.text == shown


def test_a_line_that_is_too_long_is_broken() -> None:
    line = OpenLine()
    assert line.completed_by(b"x" * OPEN_LINE_BYTES) is None
    assert line.completed_by(b"y") == b"x" * OPEN_LINE_BYTES + b"y"
    assert line.text == b""
