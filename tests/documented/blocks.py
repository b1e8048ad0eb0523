"""The code blocks of dask-kubernetes' documents, with what is changed in each, and how it is run.

``tests/data/documented/blocks`` has one file per document: a heading for each section, one for each
block, and comments above the block:

- ``<!-- run: python -->``, ``doctest`` or ``console``: a test runs it;
- ``<!-- file: NAME -->``: a test uses it as a file;
- ``<!-- not run: REASON -->``: what cannot be run here; ``…`` stands for its other lines;
- ``<!-- changed: OLD → NEW -->``: what is not as in the document; ``\\n`` is a new line.

`NAMES` is changed everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.docs.consoles import Block

FOLDER = Path(__file__).parents[1] / "data" / "documented" / "blocks"
DOCUMENTS = ("first-generation", "classic", "overview", "operator", "provisioned")
#: The names of the package, its chart and its operator, in the order of their replacement.
NAMES = (
    ("dask_kubernetes", "daskjob"),
    ("dask-kubernetes-operator", "daskjob-operator"),
    ("dask-kubernetes", "daskjob"),
)
RUNS = {"python", "doctest", "console"}

_BLOCK = re.compile(
    r"^### (?P<name>\S+)\n\n(?P<comments>(?:<!-- [^\n]+ -->\n)+)```\w+\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_COMMENT = re.compile(r"<!-- (not run|run|file|changed): (.+?) ?-->")


@dataclass(frozen=True)
class Documented:
    """One code block of a document."""

    document: str
    section: str
    name: str
    #: ``run``, ``file`` or ``not run``.
    verb: str
    #: How it is run, the name of the file, or the reason.
    how: str
    changes: tuple[tuple[str, str], ...]
    #: As in the document.
    original: str

    @property
    def place(self) -> str:
        """Its name, unique among all documents."""
        return f"{self.document}/{self.name}"

    @property
    def text(self) -> str:
        """What a user types now."""
        text = self.original.replace("…\n", "")
        for old, new in (*self.changes, *NAMES):
            text = text.replace(old, new)
        return text

    @property
    def console(self) -> Block:
        """The commands, with what the document shows below each."""
        text = self.text if re.search(r"^\$ ", self.text, re.MULTILINE) else f"$ {self.text}"
        return Block(self.document, 0, "", "console", text.lstrip("\n"))


@cache
def documented() -> dict[str, Documented]:
    """Return all blocks, by their places."""
    return {block.place: block for name in DOCUMENTS for block in _read(name)}


def _read(document: str) -> list[Documented]:
    text = (FOLDER / f"{document}.md").read_text()
    sections = [
        (found.start(), found[1]) for found in re.finditer(r"^## (.+)$", text, re.MULTILINE)
    ]
    blocks = []
    for found in _BLOCK.finditer(text):
        section = [name for start, name in sections if start < found.start()][-1]
        comments = _COMMENT.findall(found["comments"])
        ((verb, how),) = [pair for pair in comments if pair[0] != "changed"]
        changes = tuple(_change(value) for kind, value in comments if kind == "changed")
        blocks.append(
            Documented(document, section, found["name"], verb, how, changes, found["text"])
        )
    return blocks


def _change(value: str) -> tuple[str, str]:
    old, _, new = value.partition(" → ")
    return old, new.replace(r"\n", "\n")
