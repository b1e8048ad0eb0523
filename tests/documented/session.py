"""A user's session: the blocks of a document, in one folder, one environment, one process."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.plugin import Kubectl
from tests.docs.consoles import Command, Ran, Reader, alike, missing_lines
from tests.documented.blocks import Documented, documented
from tests.waiting import wait_until

#: Columns whose values differ from cluster to cluster.
_ANY = {"AGE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "RESTARTS"}


@dataclass
class Session:
    """One user with a shell and a Python, in a folder."""

    folder: Path
    kubectl: Kubectl
    reader: Reader
    #: What the blocks of Python have defined.
    names: dict[str, Any] = field(default_factory=dict)

    def file(self, place: str, **replaced: str) -> Path:
        """Write the file that a block is; return its path."""
        block = _of(place, "file")
        text = block.text
        for old, new in replaced.items():
            text = text.replace(old, new)
        path = self.folder / block.how
        path.write_text(text)
        return path

    def python(self, place: str) -> str:
        """Run a block in the process of this session; return what it prints."""
        block = _of(place, "run")
        assert block.how in ("python", "doctest")
        if block.how == "doctest":
            examples = doctest.DocTestParser().get_examples(block.text)
            sources = [example.source for example in examples]
        else:
            sources = [block.text]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            for source in sources:
                exec(compile(source, place, "exec"), self.names)
        return printed.getvalue()

    def program(self, *places: str, end: str = "") -> str:
        """Run blocks as a program of their own; return what it prints."""
        text = "\n".join(_of(place, "run").text for place in places)
        (self.folder / "program.py").write_text(f"{text}\n{end}")
        return self.reader.run_text("python program.py 2>&1")

    def value(self, place: str) -> Any:
        """Return the value of a block that is one expression."""
        block = _of(place, "run")
        source = block.text.removeprefix(">>> ").split("\n{")[0]
        return eval(compile(source, place, "eval"), self.names)

    def console(self, place: str) -> str:
        """Run the commands of a block; each does and prints what the document shows."""
        wrong = "\n".join(self.faults(place, ran := self.ran(place)))
        assert not wrong, wrong
        return "\n".join(one.text for one in ran)

    def ran(self, place: str) -> list[Ran]:
        """Run the commands of a block."""
        block = _of(place, "run")
        assert block.how == "console"
        return self.reader.run(block.console.commands())

    def faults(self, place: str, ran: list[Ran]) -> Iterator[str]:
        """Yield what is not as the document shows."""
        for one in ran:
            shown = [line for line in one.command.shown if line]
            if one.code:
                yield f"{place}: $ {one.command.text}\nexited with {one.code}:\n{one.text}"
            elif shown and re.match(r"(NAMESPACE|NAME) ", shown[0]):
                yield from (f"{place}: {text}" for text in _other_rows(shown, one.text))
            elif missing := missing_lines(
                Ran(Command(one.command.text, tuple(shown)), 0, one.text)
            ):
                yield f"{place}: $ {one.command.text}\ndid not print {missing}, but:\n{one.text}"

    def shows(self, place: str) -> list[str]:
        """Return what the commands of a block do not show yet."""
        return list(self.faults(place, self.ran(place)))

    def until_shown(self, place: str) -> None:
        """Wait until the commands of a block show what the document shows."""
        wait_until(
            lambda: not self.shows(place), 240, lambda: "\n".join(self.shows(place)), pause=0.5
        )

    @property
    def cluster(self) -> Any:
        """The cluster that the last block has made."""
        return self.names["cluster"]


def _of(place: str, verb: str) -> Documented:
    block = documented()[place]
    assert block.verb == verb, place
    return block


def rows(lines: list[str]) -> list[dict[str, str]]:
    """Return the rows of a table, by its columns."""
    starts = [(found.start(), found[0]) for found in re.finditer(r"\S+", lines[0])]
    ends = [start for start, _ in starts[1:]] + [None]
    return [
        {name: line[start:end].strip() for (start, name), end in zip(starts, ends, strict=True)}
        for line in lines[1:]
    ]


def rows_shown(lines: list[str]) -> list[dict[str, str]]:
    """Return the rows of a table of a document, whose columns are not below their names."""
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    return [dict(zip(cells[0], row, strict=False)) for row in cells[1:]]


def _other_rows(shown: list[str], printed: str) -> Iterator[str]:
    """Yield the rows of a document's table that are missing from a printed one."""
    wanted, found = rows_shown(shown), rows(printed.splitlines() or [""])
    columns = set(wanted[0]) - _ANY
    if missing := set(wanted[0]) - set(found[0] if found else ()):
        yield f"no columns {missing} in:\n{printed}"
        return
    have = [_compared(row, columns) for row in found]
    for row in wanted:
        if row["NAME"] == "...":
            continue
        one = _compared(row, columns)
        if one in have:
            have.remove(one)
        else:
            yield f"no row {one} in:\n{printed}"


def _compared(row: dict[str, str], columns: set[str]) -> dict[str, str]:
    found = {name: row[name] for name in columns if name in row}
    return {**found, "NAME": _alike(row["NAME"])}


def _alike(value: str) -> str:
    """Return a value without what differs; a name may have more suffixes, or longer ones."""
    return re.sub(r"(-(ID|N))+", "-ID", alike(re.sub(r"-[0-9a-f]{32}\b", "-0abcdef", value)))
