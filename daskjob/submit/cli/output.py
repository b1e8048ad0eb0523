"""Output formats for people and programs: table, json, yaml, name."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

import click

from daskjob.core.manifests import Manifest, metadata, parse_time
from daskjob.core.quantity import duration

#: Spaces between columns, and where they are needed for something else.
GAP = 3
SMALL_GAP = 2
#: Where a name is shortened to before a column is left out, and after all of them were.
SHORT_NAME = 20
SHORTEST_NAME = 8
#: What stands for the middle of a shortened name.
LEFT_OUT = "…"
LEFT_OUT_ASCII = "..."

Decorated = TypeVar("Decorated", bound=Callable[..., object])


class Format(StrEnum):
    """Values of ``-o``."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


def _output_option(formats: Sequence[Format]) -> Callable[[Decorated], Decorated]:
    choice = click.Choice([str(item) for item in formats])
    return click.option("-o", "--output", "output", type=choice, help="Output format.")


output_option = _output_option([item for item in Format if item is not Format.WIDE])
#: Of a command whose table is made to fit the screen; ``wide`` prints all of it.
listing_option = _output_option(list(Format))


def print_objects(objects: Sequence[Manifest], output: Format, *, as_list: bool) -> None:
    """Print objects for a program to read."""
    match output:
        case Format.NAME:
            for item in objects:
                click.echo(f"daskjob/{metadata(item).get('name')}")
        case Format.JSON:
            found = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
            click.echo(json.dumps(found if as_list else objects[0], indent=2))
        case Format.YAML:
            click.echo(as_yaml(objects))
        case Format.TABLE | Format.WIDE:
            raise AssertionError("a command prints its own table")


def as_yaml(objects: Sequence[Manifest]) -> str:
    """Return objects as YAML documents, without anchors and Python types."""
    import yaml

    plain = json.loads(json.dumps(list(objects)))
    text: str = yaml.safe_dump_all(plain, sort_keys=False, width=100, allow_unicode=True)
    return text.rstrip()


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table as kubectl does: upper-case header, three spaces between columns."""
    _print_table([header, *rows], GAP)


def print_fitting_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, least: Sequence[str]
) -> None:
    """Print a table that fits the screen: every row is one line, and no other word is broken.

    Names, the first column, are shortened in the middle. Then columns are left out, those of
    ``least`` in this order.
    """
    width = screen_width()
    table = [list(map(str, row)) for row in (header, *rows)]
    for name in ("", *least):
        if name:
            table = _without(table, name)
        rest = sum(_widths(table)[1:])
        for gap in (GAP, SMALL_GAP):
            room = width - rest - gap * (len(table[0]) - 1)
            if room >= min(_widths(table)[0], SHORT_NAME):
                _print_table(_with_short_names(table, room), gap)
                return
    _print_table(_with_short_names(table, max(room, SHORTEST_NAME)), SMALL_GAP)


def screen_width() -> int:
    """Return the width of the terminal, or of ``$COLUMNS``; 80 where there is neither."""
    return shutil.get_terminal_size((80, 24)).columns


def _with_short_names(table: Sequence[Sequence[str]], room: int) -> list[list[str]]:
    return [[shortened(row[0], room), *row[1:]] for row in table]


def shortened(name: str, room: int) -> str:
    """Return a name with its middle left out where it has no room: its ends tell it apart."""
    if len(name) <= room:
        return name
    mark = LEFT_OUT if _can_print(LEFT_OUT) else LEFT_OUT_ASCII
    kept = max(room - len(mark), 2)
    return name[: kept - kept // 2] + mark + name[-(kept // 2) :]


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _without(table: Sequence[Sequence[str]], name: str) -> list[list[str]]:
    if name not in table[0]:
        return [list(row) for row in table]
    index = list(table[0]).index(name)
    return [[*row[:index], *row[index + 1 :]] for row in table]


def _widths(table: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(str(row[i])) for row in table) for i in range(len(table[0]))]


def _print_table(table: Sequence[Sequence[str]], gap: int) -> None:
    widths = _widths(table)
    for row in table:
        cells = [str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo((" " * gap).join(cells).rstrip())


def age(manifest: Manifest) -> str:
    """Return how long ago an object was created."""
    created = parse_time(metadata(manifest).get("creationTimestamp"))
    return duration(datetime.now(UTC) - created) if created else ""
