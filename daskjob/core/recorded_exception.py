"""The exception that ended a Python program, as its own process recorded it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping

from daskjob.core.last_exception import (
    ESCAPES,
    HEADER,
    MESSAGE_LENGTH,
    MESSAGE_LINES,
    PARTS,
    joined,
    one_line,
    shortened,
    with_cause,
)
from daskjob.core.manifests import mapping

_LINE_ENDS = re.compile(r"\r\n|[\n\v\f\x1c-\x1e\x85\u2028\u2029]")


def recorded_line(record: Mapping[str, object]) -> str:
    """Return ``Type: message`` on one line, with notes, the parts of a group, or the cause."""
    return _line_and_cause(record)[0]


def _line_and_cause(record: Mapping[str, object]) -> tuple[str, str]:
    line, cause = _line(record), mapping(record.get("cause"))
    if not cause:
        return line, ""
    text = _line_and_cause(cause)[1] or _short(cause)
    extended = with_cause(line, text)
    return (extended, text) if extended else (line, "")


def _line(record: Mapping[str, object]) -> str:
    message = shortened(one_line(list(_texts(record))), MESSAGE_LENGTH)
    parts = record.get("parts")
    named = [_line(mapping(part)) for part in parts] if isinstance(parts, list) else []
    if named:
        message += ": " + "; ".join(named[:PARTS]) + ("; …" if len(named) > PARTS else "")
    return joined(_type(record), message)


def _short(record: Mapping[str, object]) -> str:
    """Return an exception with the first line of its message; a list may follow on the next."""
    texts = list(_texts(record))
    first = " ".join(texts[:2]) if texts and texts[0].endswith(":") else "".join(texts[:1])
    return joined(_type(record), shortened(first, MESSAGE_LENGTH))


def _type(record: Mapping[str, object]) -> str:
    return plain(str(record.get("type") or "")) or "an exception"


def _texts(record: Mapping[str, object]) -> Iterator[str]:
    """Yield the lines of a message, without the frames of a traceback in it."""
    in_traceback = False
    text = ESCAPES.sub("", str(record.get("text") or ""))
    for line in _LINE_ENDS.split(text)[:MESSAGE_LINES]:
        if HEADER in line:
            in_traceback = True
        elif in_traceback and (not line.strip() or line.startswith((" ", "\t"))):
            continue
        else:
            in_traceback = False
            if any(character.isalnum() for character in line):
                yield plain(line)


def plain(text: str) -> str:
    """Return a text without control characters; bytes that are no text are visible."""
    text = " ".join(ESCAPES.sub("", text).split())
    text = "".join(c for c in text if unicodedata.category(c) != "Cc")
    return text.encode(errors="backslashreplace").decode()
