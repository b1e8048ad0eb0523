"""The rows of `docs/howto/fixed-bugs.md`, by column."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.docs.documents import ROOT

PAGE = ROOT / "docs" / "howto" / "fixed-bugs.md"
#: How many mistakes of dask-kubernetes are known.
BUGS = 35


@dataclass(frozen=True)
class Row:
    """One mistake."""

    number: int
    theirs: str
    seen: str
    ours: str
    tests: str

    def line(self) -> str:
        """Return the row as Markdown."""
        return f"| {self.number} | {self.theirs} | {self.seen} | {self.ours} | {self.tests} |"


def rows() -> list[Row]:
    """Return all rows of the page."""
    lines = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d+ \|", line)]
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [Row(int(number), *cells) for number, *cells in split]
