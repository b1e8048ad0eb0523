"""Whole lines from the chunks of a log, which may end in the middle of one. No I/O."""

from __future__ import annotations

from collections.abc import Iterator

from daskjob.core.messages import cut
from daskjob.submit.jobs import LogChunk

#: Characters of a line; a program that prints megabytes without a line break gets them cut.
LINE_LIMIT = 8000


class Lines:
    """The lines of one log."""

    def __init__(self) -> None:
        self._open = b""
        self._pod = ""

    def of(self, chunk: LogChunk) -> Iterator[str]:
        """Yield the lines that end in a chunk."""
        if chunk.pod != self._pod:
            yield from self.rest()
            self._pod = chunk.pod
        *whole, self._open = (self._open + chunk.data).split(b"\n")
        for line in whole:
            yield _text(line)
        if len(self._open) > LINE_LIMIT:
            yield from self.rest()

    def rest(self) -> Iterator[str]:
        """Yield the last line, which has no line break."""
        line, self._open = self._open, b""
        if line:
            yield _text(line)


def _text(line: bytes) -> str:
    # What a progress bar wrote over is not shown on a terminal either.
    text = line.decode(errors="replace").rstrip("\r").rpartition("\r")[2]
    return cut(text, LINE_LIMIT)
