"""Rows of text on a terminal that are drawn again in the same place."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import TextIO

from daskjob.submit.terminal.live_line import INDENT, printable, wrapped

#: What the cursor keys of a terminal do: to the start of a row above, and erase all below it.
_UP = "\x1b[{}F"
_ERASE_BELOW = "\x1b[J"


class Redrawn:
    """A block of rows below everything that was written before."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._drawn: list[str] = []

    def draw(self, lines: Sequence[str]) -> None:
        """Draw the lines in the place of the last ones: long ones in several rows."""
        columns, most = self._size()
        rows = [row for line in lines for row in _rows(line, columns - 1)]
        # What has left the screen cannot be drawn again.
        rows = rows[: max(most - 1, 1)]
        if rows == self._drawn:
            return
        self._out.write(self._back() + _ERASE_BELOW + "".join(row + "\n" for row in rows))
        self._out.flush()
        self._drawn = rows

    def clear(self) -> None:
        """Erase the rows."""
        self._out.write(self._back() + _ERASE_BELOW)
        self._out.flush()
        self._drawn = []

    def _size(self) -> os.terminal_size:
        # COLUMNS of the environment may be that of another terminal, or of an earlier size.
        try:
            found = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):
            found = os.terminal_size((0, 0))
        return found if all(found) else shutil.get_terminal_size((80, 24))

    def _back(self) -> str:
        # A terminal that became narrower may show a row as two. To count these would erase what
        # was there before on a terminal that does not.
        return _UP.format(len(self._drawn)) if self._drawn else ""


def _rows(line: str, width: int) -> list[str]:
    from rich.cells import cell_len, set_cell_size

    found = wrapped(printable(line), max(width, len(INDENT) + 1))
    return [row if cell_len(row) <= width else set_cell_size(row, width - 1) + "…" for row in found]
