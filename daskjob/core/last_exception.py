"""The exception that ended a Python program, read from the end of its output.

Output has everything in it: tracebacks that were handled and logged, errors in threads and in
``__del__``, several exceptions in a chain, prints that come after the exception. What an uncaught
exception of the main thread prints is found by its own form and by the line above it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

#: Colours and cursor movements; Python 3.13 colours tracebacks on a terminal.
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
HEADER = "Traceback (most recent call last)"
#: The frame of code in a traceback; a SyntaxError of the script itself has no header above it.
_FRAME = re.compile(r'^  File ".*", line \d+')
#: ``package.module.Error: message``; a class may be local to a function.
_LINE = re.compile(r"^(?P<type>[^\W\d]\w*(?:\.(?:<locals>|[^\W\d]\w*))*)(?::(?P<message>.*))?$")
_CHAIN = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
#: The line above the traceback of an exception that Python reports and ignores: in ``__del__``, a
#: thread, an exit handler, a process of multiprocessing, a callback or a task of asyncio.
_ASIDE = re.compile(
    r"^(Exception ignored|Exception in |Error in atexit|Unhandled exception in|handle: |future: "
    r"|task: |object address|Error in sys\.(excepthook|unraisablehook)|Process \S+:$)"
)
#: A line of a log.
_RECORD = re.compile(r"\b(DEBUG|INFO|WARN|WARNING|ERROR|CRITICAL|FATAL|EXCEPTION)\b")
#: The level at which exceptions are logged, as by ``logging.exception``.
_LOUD = re.compile(r"\b(ERROR|CRITICAL|FATAL|EXCEPTION)\b")
#: What asyncio reports, above a line with the future or the task.
_FORGOTTEN = (
    r"^(Future|Task) exception was never retrieved$|^Task was destroyed but it is pending!$"
)
#: What libraries and Python print at the exit of a program: records, warnings, the last state of a
#: progress bar, the threads of faulthandler.
_AT_EXIT = re.compile(
    r"\b(distributed|tornado|asyncio)\b.*\b(DEBUG|INFO|WARNING|ERROR)\b"
    r"|\b(DEBUG|INFO|WARNING|ERROR)\b.*\b(distributed|tornado|asyncio)\b|^\S+:\d+: \w*Warning: "
    r"|^\s+warnings\.warn\(|\d+%\||^(Current t|T)hread 0x|^Fatal Python error|^Extension modules: "
    rf"|{_FORGOTTEN}"
)
#: The number of log records with which a program may end after an exception.
_LAST_RECORDS = 2
#: The first frame of a traceback, and the names of it where an exception left the program.
_FIRST_FRAME = re.compile(r'^\s*\|?\s*File ".*", line \d+, in (?P<name>\S+)')
_PROGRAM = ("<module>", "_run_module_as_main")
#: A frame of a file whose code is printed below it.
_FRAME_WITH_CODE = re.compile(r'^  File ".*\.py", line \d+')
#: Lines of a traceback that no other output looks like: a frame, and marks below its code.
_EVIDENT = re.compile(r'^  File ".*", line \d+|^    +[~^]+$')
#: An exception by its name alone.
_NAMED = re.compile(r"^[\w.]*(Error|Exception|Exit|Interrupt|Iteration|Warning|Killed\w*)(:|$)")
#: The number of lines of the other stream that are expected within a traceback.
_BETWEEN_LINES = 20
#: The frames of a traceback that the rich library prints.
_BOX = ("╭", "│", "╰", "┌", "└")
#: A part of an exception group, and the frame around all of it.
_GROUP_MARK = re.compile(r"^\s*[|+]([-+\s]|$)")
_GROUP_PART = re.compile(r"^\s*\+[-+]*-+ \d+ -+$")
#: The number of exceptions of a group that are named.
PARTS = 3
#: The maximum length of a message, and of one in front of its cause.
MESSAGE_LENGTH = 300
_OUTER_LENGTH = 160
#: The number of lines of a message that are read.
MESSAGE_LINES = 40
#: A line of at least this length may have been wrapped.
_WRAPPED_LENGTH = 40
#: A line that evidently belongs to a message, not to the output behind it.
_HINT = re.compile(r"[\s+|]|https?://|For more |For details|Hint\b|Note\b|See |Did you mean")
#: A message of an exception whose cause has the actual one.
_GENERIC = re.compile(
    r"\berror (during|while|occurred)\b|serializ|\bfail(ed|ure)\b|\bcould not\b|\bcannot\b"
    r"|\bunable to\b|\bwent wrong\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class PrintedException:
    """An exception whose traceback is in an output."""

    #: ``Type: message`` on one line, with notes, and with the cause if the message is generic.
    line: str
    #: Whether it ended the program, as far as the output shows it.
    is_main: bool
    #: The index of the line at which its traceback starts, that of the first of a chain.
    start: int
    #: The index behind its ``Type: message`` line.
    end: int


@dataclass(frozen=True, slots=True)
class _Printed:
    """A traceback, or a chain of them, as it was read."""

    #: ``Type: message`` without further lines, and with all that may belong to the message.
    short: str
    line: str
    #: The line above it.
    above: str
    #: Whether its first frame may be that of the program.
    is_whole: bool
    start: int
    end: int
    #: ``Type: message`` of the exception that a generic one comes from.
    cause: str = ""

    @property
    def is_aside(self) -> bool:
        """Whether Python reported and ignored it."""
        return _ASIDE.match(self.above) is not None

    @property
    def may_be_logged(self) -> bool:
        """Whether the line above it is one with which an exception is logged."""
        return _LOUD.search(self.above) is not None


def plain_lines(text: str) -> list[str]:
    """Return the lines of an output without escape sequences; of a progress bar, its last state."""
    if text.startswith('File "'):
        # A SyntaxError of the script itself, of an output without the blanks around it.
        text = f"  {text}"
    lines = ESCAPES.sub("", text).split("\n")
    return [line.rstrip("\r \t").rpartition("\r")[2] for line in lines]


def last_exception(text: str) -> PrintedException | None:
    """Return the exception that ended the program, as far as its output shows it.

    If there is none, return the last one that was handled. Exceptions of threads and of the exit
    count only where there is no other.
    """
    lines = plain_lines(text)
    every = list(_printed(lines))
    handled = [found for found in every if not found.is_aside]
    main = [found for found in handled if _is_uncaught(found, every, lines)]
    if not main and handled and _is_last(handled[-1], every, lines):
        # It was logged in a function, and the program ended because of it.
        main = handled[-1:]
    if main:
        return PrintedException(main[-1].line, True, main[-1].start, main[-1].end)
    chosen = handled or every
    if not chosen:
        return None
    # Further lines are rather output of the program, which continued.
    return PrintedException(chosen[-1].short, False, chosen[-1].start, chosen[-1].end)


def _is_uncaught(found: _Printed, every: Sequence[_Printed], lines: Sequence[str]) -> bool:
    """Return whether an exception has the form of an uncaught one.

    The line above does not show whether it was logged: programs log before they fail, too. The
    traceback of an uncaught exception starts at the module of the program, and is the last output.
    Exit handlers may print after it; that counts only if it may have been logged.
    """
    return found.is_whole and (not found.may_be_logged or _is_last(found, every, lines))


def _is_last(found: _Printed, every: Sequence[_Printed], lines: Sequence[str]) -> bool:
    """Return whether only errors and a few log records of the exit follow an exception."""
    ignored = set(range(found.end, _message_end(lines, found.end)))
    for other in every:
        if other.is_aside and other.start >= found.end:
            ignored |= set(range(other.start - 1, other.end))
    # An exception that nothing has raised has no traceback, as that of a future.
    asides = (i for i in range(found.end, len(lines) - 1) if _ASIDE.match(lines[i]))
    ignored |= {i + 1 for i in asides if _NAMED.match(lines[i + 1])}
    rest = [lines[i] for i in range(found.end, len(lines)) if i not in ignored]
    rest = [line for line in rest if line.strip() and not _is_at_exit(line)]
    return len(rest) <= _LAST_RECORDS and all(_RECORD.search(line) for line in rest)


def _is_at_exit(line: str) -> bool:
    return bool(_ASIDE.match(line) or _AT_EXIT.search(line))


def _message_end(lines: Sequence[str], index: int) -> int:
    """Return the index behind the lines that evidently continue the message above them."""
    while index < len(lines) and _continues(lines[index - 1], lines[index]):
        index += 1
    return index


def _continues(line: str, following: str) -> bool:
    if not following.strip() or _starts(following):
        return False
    if _HINT.match(following) or line.endswith((":", ",")):
        return True
    return len(line) >= _WRAPPED_LENGTH and following[0].islower()


def _printed(lines: Sequence[str]) -> Iterator[_Printed]:
    """Yield the exceptions in the order in which they were printed."""
    index, after = 0, 0
    last: _Printed | None = None
    while index < len(lines):
        if not _starts(lines[index]):
            index += 1
            continue
        above, previous = _above(lines, index), after
        short, line, after = _read(lines, index)
        if short:
            found = _Printed(short, line, above, _is_whole(lines, index), index, after)
            if above in _CHAIN:
                found = _chained(found, last, lines[previous:index])
            last = found
            yield found
        index = max(after, index + 1)


def _chained(found: _Printed, last: _Printed | None, between: Sequence[str]) -> _Printed:
    """Return an exception with the one that it comes from, which is printed above it."""
    bare = _bare_cause(between, found_above=last is not None)
    if bare:
        above, cause = bare
        chain = replace(found, above=above)
    elif last is not None:
        cause = last.cause or last.short
        chain = replace(found, above=last.above, start=last.start)
    else:
        return replace(found, above="")
    line = with_cause(found.line, cause) if found.above == _CHAIN[0] else ""
    return replace(chain, line=line, cause=cause) if line else chain


def with_cause(line: str, cause: str) -> str:
    """Return a generic exception with the one that it comes from; empty if it is not generic."""
    message = cause.partition(": ")[2]
    if not _GENERIC.search(line) or (message and message in line):
        return ""
    return f"{_first_sentence(line)} (caused by {shortened(cause, MESSAGE_LENGTH)})"


def _bare_cause(between: Sequence[str], *, found_above: bool) -> tuple[str, str] | None:
    """Return a cause that has no traceback of its own, and the line above it."""
    lines = [line.strip() for line in between]
    for above, line in reversed(list(pairwise(["", *lines]))):
        is_first = _ASIDE.match(above) or _RECORD.search(above) or not found_above
        if is_first and line not in _CHAIN and _LINE.match(line):
            return above, line
    return None


def _is_whole(lines: Sequence[str], index: int) -> bool:
    """Return whether the traceback at a line starts at the program, as far as its text shows."""
    if HEADER not in lines[index] or index + 1 >= len(lines):
        return True
    frame = _FIRST_FRAME.match(lines[index + 1])
    return frame is None or frame["name"] in _PROGRAM


def _first_sentence(line: str) -> str:
    """Return the first sentence of a message, with a mark if there are more."""
    first, _, more = line.partition(". ")
    return shortened(f"{first} …" if more else first.removesuffix("."), _OUTER_LENGTH)


def shortened(text: str, limit: int) -> str:
    """Return at most ``limit`` characters of a text, cut between words."""
    if len(text) <= limit:
        return text
    head = text[: limit - 2]
    return (head.rpartition(" ")[0] or head).rstrip(" ,;:…") + " …"


def _starts(line: str) -> bool:
    return HEADER in line or _FRAME.match(line) is not None


def _above(lines: Sequence[str], index: int) -> str:
    """Return the line above a traceback; a chain has an empty one in between."""
    above = lines[index - 1] if index else ""
    if not above.strip() and index > 1:
        above = lines[index - 2]
        # Only a chain continues below an empty line.
        return above.strip(" |") if above.strip(" |") in _CHAIN else ""
    return above.strip(" |")


def _read(lines: Sequence[str], index: int) -> tuple[str, str, int]:
    """Return the ``Type: message`` of the traceback at a line, short and whole, and its end."""
    if "Exception Group Traceback" in lines[index]:
        return _read_group(lines, index)
    index += 0 if _FRAME.match(lines[index]) else 1
    while index < len(lines):
        following = index + 1 if _is_frame(lines[index]) else _behind_other_output(lines, index)
        if following == index:
            break
        index = following
    return _read_line(lines, index)


def _behind_other_output(lines: Sequence[str], index: int) -> int:
    """Return the index at which a traceback continues behind lines of standard output.

    A container's log has both streams, each read by itself: lines of one may be within a traceback
    of the other. Return the same index if the traceback does not evidently continue.
    """
    wants_code = _FRAME_WITH_CODE.match(lines[index - 1]) is not None
    for found in range(index, min(index + _BETWEEN_LINES, len(lines))):
        line = lines[found]
        if _NAMED.match(line):
            return found
        if HEADER in line or line.strip(" |") in _CHAIN or _ASIDE.match(line):
            return index
        if found > index and (_EVIDENT.match(line) or (wants_code and line.startswith("    "))):
            return found
    return index


def _is_frame(line: str) -> bool:
    return not line.strip() or line.startswith((" ", *_BOX))


def _read_line(lines: Sequence[str], index: int) -> tuple[str, str, int]:
    match = _LINE.match(lines[index]) if index < len(lines) else None
    if match is None:
        return "", "", index
    name, message = match["type"], (match["message"] or "").strip()
    further = list(_further(lines, index + 1))
    first = message
    if match["message"] is not None and (not message or message.endswith(":")) and further:
        # The text begins on the next line, or a list follows.
        first = f"{message} {further[0]}".strip()
    whole = shortened(one_line([message, *further]), MESSAGE_LENGTH)
    return joined(name, shortened(first, MESSAGE_LENGTH)), joined(name, whole), index + 1


def _further(lines: Sequence[str], index: int) -> Iterator[str]:
    """Yield the lines below an exception that may be part of its message, or are its notes."""
    for line in lines[index : index + MESSAGE_LINES]:
        text = line.strip()
        if _starts(line) or text.strip("| ") in _CHAIN or _is_at_exit(line) or _RECORD.search(line):
            return
        if any(character.isalnum() for character in text):
            yield text


def one_line(parts: Sequence[str]) -> str:
    """Return lines of a message as one line."""
    text, above = "", ""
    for part in parts:
        is_wrapped = len(above) >= _WRAPPED_LENGTH and part[:1].islower()
        if text and not (is_wrapped or text[-1] in ".,:;!?" or part.startswith("http")):
            text += ";"
        text = f"{text} {part}".strip()
        above = part
    return text


def joined(name: str, message: str) -> str:
    """Return ``Type: message``."""
    name = name.removeprefix("__main__.")
    return f"{name}: {message}" if message else name


def _read_group(lines: Sequence[str], index: int) -> tuple[str, str, int]:
    """Return the line of an exception group with the first of its exceptions."""
    end = index + 1
    while end < len(lines) and (_GROUP_MARK.match(lines[end]) or HEADER in lines[end]):
        end += 1
    block = lines[index + 1 : end]
    texts = [line.strip().lstrip("|+-") for line in block]
    # One blank is the frame's own; code and notes are indented further, or follow the line.
    heads = [i for i, text in enumerate(texts) if _is_head(text)]
    if not heads:
        return _read(lines, end) if end < len(lines) and _FRAME.match(lines[end]) else ("", "", end)
    parts = []
    borders = [i for i, line in enumerate(block) if _GROUP_PART.match(line)]
    for border, following in zip(borders, [*borders[1:], len(block)], strict=True):
        inside = [i for i in heads if border < i < following]
        if inside and "sub-exception" not in texts[inside[0]]:
            parts.append(_line_of(texts[inside[0]]))
    named = "; ".join(parts[:PARTS]) + ("; …" if len(parts) > PARTS else "")
    line = _line_of(texts[heads[0]]) + (f": {named}" if named else "")
    return line, line, end


def _is_head(text: str) -> bool:
    return text.startswith(" ") and not text.startswith("  ") and _is_line(text[1:])


def _is_line(text: str) -> bool:
    return _LINE.match(text) is not None and HEADER not in text


def _line_of(text: str) -> str:
    name, _, message = text.strip().partition(":")
    return joined(name, message.strip())
