"""The lines of a log that match a pattern, as they come."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from daskjob.submit.jobs import LogChunk

#: The longest line that is kept until its newline comes; what is longer is matched in pieces.
OPEN_LINE_BYTES = 64 * 1024

#: What changes the colour of text on a terminal; patterns are about the text.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def matching(chunks: Iterable[LogChunk], pattern: re.Pattern[str]) -> Iterator[LogChunk]:
    """Yield the lines in which the pattern is found, each as soon as it is complete."""
    open_lines: dict[str, bytes] = {}
    for chunk in chunks:
        *lines, rest = (open_lines.pop(chunk.pod, b"") + chunk.data).split(b"\n")
        if len(rest) > OPEN_LINE_BYTES:
            lines, rest = [*lines, rest], b""
        if rest:
            open_lines[chunk.pod] = rest
        found = b"".join(line + b"\n" for line in lines if _is_in(pattern, line))
        if found:
            yield LogChunk(chunk.pod, found)
    for pod, line in open_lines.items():
        if _is_in(pattern, line):
            yield LogChunk(pod, line)


def _is_in(pattern: re.Pattern[str], line: bytes) -> bool:
    return pattern.search(_COLOUR.sub("", line.decode(errors="replace"))) is not None
