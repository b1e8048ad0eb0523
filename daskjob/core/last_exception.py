"""The exception that ended a Python program, read from the end of its output.

Output has everything in it: tracebacks that were handled and logged, errors in threads and in
``__del__``, several exceptions in a chain, prints that come after the exception. What an uncaught
exception of the main thread prints is found by its own form and by the line above it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

#: Colours and cursor movements; Python 3.13 colours tracebacks on a terminal.
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
_HEADER = "Traceback (most recent call last)"
#: The frame of code in a traceback; a SyntaxError of the script itself has no header above it.
_FRAME = re.compile(r'^  File ".*", line \d+')
#: ``package.module.Error: message``; a class may be local to a function.
_LINE = re.compile(r"^(?P<type>[^\W\d]\w*(?:\.(?:<locals>|[^\W\d]\w*))*)(?::(?P<message>.*))?$")
_CHAIN = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
#: The line above the traceback of an exception that Python reports and ignores: in ``__del__``, a
#: thread, an exit handler, a callback or a task of asyncio.
_ASIDE = re.compile(
    r"^(Exception ignored|Exception in |Error in atexit|Unhandled exception in|handle: |future: "
    r"|task: |object address|Error in sys\.(excepthook|unraisablehook))"
)
#: The line above a traceback that was logged.
_RECORD = re.compile(r"\b(DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL|FATAL|EXCEPTION)\b")
#: The frames of a traceback that the rich library prints.
_BOX = ("╭", "│", "╰", "┌", "└")
#: A part of an exception group, and the frame around all of it.
_GROUP_MARK = re.compile(r"^\s*[|+]([-+\s]|$)")
_GROUP_PART = re.compile(r"^\s*\+[-+]*-+ \d+ -+$")
#: The number of exceptions of a group that are named.
_PARTS = 3


@dataclass(frozen=True, slots=True)
class PrintedException:
    """An exception whose traceback is in an output."""

    #: ``Type: message``, without further lines of the message and without notes.
    line: str
    #: Whether it may have ended the program: it was not logged, and not in a thread or an exit.
    is_main: bool
    #: The index of the line at which its traceback starts, that of the first of a chain.
    start: int
    #: The index behind its ``Type: message`` line.
    end: int


def plain_lines(text: str) -> list[str]:
    """Return the lines of an output without escape sequences; of a progress bar, its last state."""
    if text.startswith('File "'):
        # A SyntaxError of the script itself, of an output without the blanks around it.
        text = f"  {text}"
    lines = _ESCAPES.sub("", text).split("\n")
    return [line.rstrip("\r \t").rpartition("\r")[2] for line in lines]


def last_exception(text: str) -> PrintedException | None:
    """Return the exception that ended the program, as far as its output shows it.

    It is the last one of the main thread; if there is none, the last one that was logged.
    Exceptions of threads and of the exit count only where there is no other.
    """
    every = list(printed_exceptions(plain_lines(text)))
    main = [found for found in every if found.is_main]
    chosen = main or every
    return chosen[-1] if chosen else None


def printed_exceptions(lines: Sequence[str]) -> Iterator[PrintedException]:
    """Yield the exceptions in the order in which they were printed."""
    index, after, last = 0, 0, None
    while index < len(lines):
        if not _starts(lines[index]):
            index += 1
            continue
        above, previous = _above(lines, index), after
        found, after = _read(lines, index)
        if found and above in _CHAIN:
            aside = _is_logged_cause(lines[previous:index])
            is_main = not aside and (last is None or last.is_main)
            last = PrintedException(found, is_main, last.start if last else index, after)
            yield last
        elif found:
            last = PrintedException(found, not _is_aside(above), index, after)
            yield last
        index = max(after, index + 1)


def _is_logged_cause(lines: Sequence[str]) -> bool:
    """Return whether a chain begins with a logged exception that has no traceback of its own."""
    return any(_is_aside(line) and _LINE.match(next_line) for line, next_line in pairwise(lines))


def _starts(line: str) -> bool:
    return _HEADER in line or _FRAME.match(line) is not None


def _above(lines: Sequence[str], index: int) -> str:
    """Return the line above a traceback; a chain has an empty one in between."""
    above = lines[index - 1] if index else ""
    if not above.strip() and index > 1:
        above = lines[index - 2]
        # Only a chain continues below an empty line.
        return above.strip(" |") if above.strip(" |") in _CHAIN else ""
    return above.strip(" |")


def _is_aside(above: str) -> bool:
    return bool(_ASIDE.match(above) or _RECORD.search(above))


def _read(lines: Sequence[str], index: int) -> tuple[str, int]:
    """Return the ``Type: message`` of the traceback at a line, and the index behind it."""
    if "Exception Group Traceback" in lines[index]:
        return _read_group(lines, index)
    index += 0 if _FRAME.match(lines[index]) else 1
    while index < len(lines) and _is_frame(lines[index]):
        index += 1
    return _read_line(lines, index)


def _is_frame(line: str) -> bool:
    return not line.strip() or line.startswith((" ", *_BOX))


def _read_line(lines: Sequence[str], index: int) -> tuple[str, int]:
    match = _LINE.match(lines[index]) if index < len(lines) else None
    if match is None:
        return "", index
    message = (match["message"] or "").strip()
    index += 1
    if match["message"] is None or (message and not message.endswith(":")):
        return _joined(match["type"], message), index
    # The text begins on the next line, or a list follows.
    for line in lines[index : index + 2]:
        if line.strip() and not _starts(line):
            return _joined(match["type"], f"{message} {line.strip()}".strip()), index
    return _joined(match["type"], message), index


def _joined(name: str, message: str) -> str:
    name = name.removeprefix("__main__.")
    return f"{name}: {message}" if message else name


def _read_group(lines: Sequence[str], index: int) -> tuple[str, int]:
    """Return the line of an exception group with the first of its exceptions."""
    end = index + 1
    while end < len(lines) and (_GROUP_MARK.match(lines[end]) or _HEADER in lines[end]):
        end += 1
    block = lines[index + 1 : end]
    texts = [line.strip().lstrip("|+-") for line in block]
    # One blank is the frame's own; code and notes are indented further, or follow the line.
    heads = [i for i, text in enumerate(texts) if _is_head(text)]
    if not heads:
        return _read(lines, end) if end < len(lines) and _FRAME.match(lines[end]) else ("", end)
    parts = []
    borders = [i for i, line in enumerate(block) if _GROUP_PART.match(line)]
    for border, following in zip(borders, [*borders[1:], len(block)], strict=True):
        inside = [i for i in heads if border < i < following]
        if inside and "sub-exception" not in texts[inside[0]]:
            parts.append(_line_of(texts[inside[0]]))
    named = "; ".join(parts[:_PARTS]) + ("; …" if len(parts) > _PARTS else "")
    return _line_of(texts[heads[0]]) + (f": {named}" if named else ""), end


def _is_head(text: str) -> bool:
    return text.startswith(" ") and not text.startswith("  ") and _is_line(text[1:])


def _is_line(text: str) -> bool:
    return _LINE.match(text) is not None and _HEADER not in text


def _line_of(text: str) -> str:
    name, _, message = text.strip().partition(":")
    return _joined(name, message.strip())
