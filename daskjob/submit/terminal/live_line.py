"""The live line: what a running job does now, in one row of any width."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from datetime import timedelta

from daskjob.core.quantity import duration, format_bytes

#: The time over which the rest is estimated: the present speed, not that of the beginning.
WINDOW_SECONDS = 60.0
#: The time that an estimate needs.
LEAST_SECONDS = 2.0
BAR_CELLS = 30
LEAST_BAR_CELLS = 8
LEAST_NAME_CELLS = 6
#: Room for the prefix of the tasks that run, beside a bar.
STAGE_CELLS = 12
LEAST_STAGE_CELLS = 3
#: Before the second row of a message, and all after it.
INDENT = "  "

_STYLES = {"bold": b"1", "red": b"31", "green": b"32", "cyan": b"36", "bold red": b"1;31"}

_STAGE_STYLE = "cyan"

Piece = tuple[str, str]


@dataclass(frozen=True, slots=True)
class LineFacts:
    """What the line shows."""

    name: str
    phase: str
    elapsed: timedelta
    ready: int
    desired: int
    attempt: int = 0
    done: int = 0
    total: int = 0
    erred: int = 0
    #: The prefix of the tasks that run.
    stage: str = ""
    rest: timedelta | None = None
    memory_bytes: int = 0


class RestEstimate:
    """How long the tasks that are known will take, at the present speed."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def seconds(self, now: float, done: int, total: int) -> float | None:
        """Return the seconds left; ``None``: unknown."""
        seen = self._seen
        if seen and done < seen[-1][1]:
            seen.clear()  # another attempt, or results that were released
        if not seen or seen[-1][1] != done:
            seen.append((now, done))
        while len(seen) > 2 and now - seen[0][0] > WINDOW_SECONDS:
            seen.popleft()
        began, first = seen[0]
        if now - began < LEAST_SECONDS or done == first or done >= total:
            return None
        return (now - began) * (total - done) / (done - first)


def live_line(facts: LineFacts, width: int) -> list[Piece]:
    """Return the line in pieces of text and style, at most ``width`` cells long."""
    clean = replace(facts, name=printable(facts.name), stage=printable(facts.stage))
    for form in _FORMS:
        pieces = form(clean, width)
        if pieces and _cells(pieces) <= width:
            return pieces
    return _cropped(_shortest(clean, width), width)


def _full(facts: LineFacts, width: int) -> list[Piece]:
    return _with_bar(facts, facts.name, width)


def _nameless(facts: LineFacts, width: int) -> list[Piece]:
    """Return the bar rather than the name, which a message has shown when the job started."""
    return _with_bar(facts, "", width) if facts.total else []


def _with_bar(facts: LineFacts, name: str, width: int) -> list[Piece]:
    """Return the line with a bar whose place does not depend on the stage, which changes often."""
    pieces, counts = [*_head(facts, name), *_workers(facts, " workers")], _counts(facts, " tasks")
    room = width - _cells(pieces) - _cells(counts)
    bar = _bar(facts, room - STAGE_CELLS - 1)
    if facts.total and not bar:
        return []  # too narrow for this form
    return [*pieces, *bar, *counts, *_stage(facts, min(room - _cells(bar) - 1, 40))]


def _without_bar(facts: LineFacts, width: int) -> list[Piece]:
    rest = [*_workers(facts, " workers"), *_counts(facts, " tasks"), *_stage(facts, 24)]
    return _with_name(facts, rest, width)


def _short(facts: LineFacts, width: int) -> list[Piece]:
    return _with_name(
        facts, [*_workers(facts, "w"), *_counts(facts, ""), *_stage(facts, STAGE_CELLS)], width
    )


def _shorter(facts: LineFacts, width: int) -> list[Piece]:
    del width
    return [*_head(facts, ""), *_counts(facts, ""), *_memory(facts), *_stage(facts, STAGE_CELLS)]


def _shortest(facts: LineFacts, width: int) -> list[Piece]:
    del width
    brief = replace(facts, attempt=0)
    return [*_head(brief, ""), *_counts(brief, "", left=""), *_memory(facts), *_stage(facts, 6)]


_FORMS = (_full, _nameless, _without_bar, _short, _shorter, _shortest)


def _with_name(facts: LineFacts, rest: list[Piece], width: int) -> list[Piece]:
    """Return the pieces, before there are tasks with as much of the name as fits."""
    from rich.cells import cell_len

    if facts.total:
        return [*_head(facts, ""), *rest]
    room = width - _cells([*_head(facts, ""), *rest]) - 1
    name = facts.name
    if cell_len(name) > room:
        name = _cut(name, room) if room >= LEAST_NAME_CELLS else ""
    return [*_head(facts, name), *rest]


def _head(facts: LineFacts, name: str) -> list[Piece]:
    attempt = f" (attempt {facts.attempt})" if facts.attempt else ""
    head = f"{facts.phase}{attempt} {duration(facts.elapsed)}"
    return [(name, "bold"), (f" {head}", "")] if name else [(head, "")]


def _workers(facts: LineFacts, word: str) -> list[Piece]:
    workers = [(f" {facts.ready}/{facts.desired}{word}", "")] if facts.desired else []
    return [*workers, *_memory(facts)]


def _memory(facts: LineFacts) -> list[Piece]:
    return [(f" {format_bytes(facts.memory_bytes)}", "")] if facts.memory_bytes else []


def _stage(facts: LineFacts, cells: int) -> list[Piece]:
    if not facts.stage or cells < LEAST_STAGE_CELLS:
        return []
    return [(f" {_cut(facts.stage, cells)}", _STAGE_STYLE)]


def _counts(facts: LineFacts, word: str, left: str = " left") -> list[Piece]:
    if not facts.total:
        return []
    pieces = [(f" {facts.done}/{facts.total}{word}", "")]
    if facts.erred:
        pieces.append((f" {facts.erred} failed", "bold red"))
    if facts.rest is not None:
        # At least a second: a rest of 0s looks like an end.
        rest = max(facts.rest, timedelta(seconds=1))
        pieces.append((f" ~{duration(rest)}{left}", ""))
    return pieces


def _bar(facts: LineFacts, room: int) -> list[Piece]:
    cells = min(BAR_CELLS, room - 1)
    if not facts.total or cells < LEAST_BAR_CELLS:
        return []
    full = min(cells * facts.done // facts.total, cells)
    return [(" " + "━" * full, "green"), ("─" * (cells - full), "")]


def _cells(pieces: list[Piece]) -> int:
    from rich.cells import cell_len

    return sum(cell_len(text) for text, _ in pieces)


def _cut(text: str, cells: int) -> str:
    """Return text in at most this number of cells, with a sign that it was longer."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= cells:
        return text
    return set_cell_size(text, cells - 1).rstrip() + "…"


def _cropped(pieces: list[Piece], width: int) -> list[Piece]:
    """Return the pieces that fit: half of a number would be another number."""
    cropped: list[Piece] = []
    for text, style in pieces:
        room = width - _cells(cropped)
        if _cells([(text, style)]) > room:
            if not cropped or (style == _STAGE_STYLE and room > LEAST_STAGE_CELLS):
                cropped.append((_cut(text, room), style))
            break
        cropped.append((text, style))
    return cropped


def printable(text: str) -> str:
    """Return text without characters that move the cursor."""
    return "".join(each if each.isprintable() else "?" for each in text)


def wrapped(text: str, width: int) -> list[str]:
    """Return the rows of a message, broken between words only: a long word has its own row."""
    from rich.cells import cell_len

    rows: list[str] = []
    for line in text.split("\n"):
        row, *words = line.split(" ")
        for word in words:
            longer = f"{row} {word}"
            if row.strip() and cell_len(longer) > width:
                rows.append(row)
                longer = INDENT + word
            row = longer
        rows.append(row)
    return rows


def painted(pieces: list[Piece], *, colour: bool) -> bytes:
    """Return pieces as the bytes for a terminal."""
    return b"".join(paint(text, style, colour=colour) for text, style in pieces)


def paint(text: str, style: str, *, colour: bool) -> bytes:
    """Return text in a style as the bytes for a terminal."""
    data = text.encode(errors="replace")
    if not style or not colour:
        return data
    return b"\x1b[" + _STYLES[style] + b"m" + data + b"\x1b[0m"
