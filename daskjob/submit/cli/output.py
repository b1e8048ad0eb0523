"""Output formats for people and programs: table, json, yaml, name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import click

from daskjob.core.manifests import Manifest, metadata, parse_time


class Format(StrEnum):
    """Values of ``-o``."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


output_option = click.option(
    "-o",
    "--output",
    "output",
    type=click.Choice([str(item) for item in Format]),
    help="Output format.",
)


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
        case Format.TABLE:
            raise AssertionError("a command prints its own table")


def as_yaml(objects: Sequence[Manifest]) -> str:
    """Return objects as YAML documents, without anchors and Python types."""
    import yaml

    plain = json.loads(json.dumps(list(objects)))
    text: str = yaml.safe_dump_all(plain, sort_keys=False, width=100, allow_unicode=True)
    return text.rstrip()


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table as kubectl does: upper-case header, three spaces between columns."""
    widths = [max(len(str(row[i])) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        cells = [str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("   ".join(cells).rstrip())


def duration(span: timedelta | None) -> str:
    """Return a time span as kubectl writes one: 5s, 3m12s, 2h5m, 3d4h."""
    if span is None:
        return ""
    seconds = max(int(span.total_seconds()), 0)
    if seconds < 120:
        return f"{seconds}s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}m{seconds}s" if seconds and minutes < 10 else f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes}m" if minutes else f"{hours}h"
    days, hours = divmod(hours, 24)
    return f"{days}d{hours}h" if hours else f"{days}d"


def age(manifest: Manifest) -> str:
    """Return how long ago an object was created."""
    created = parse_time(metadata(manifest).get("creationTimestamp"))
    return duration(datetime.now(UTC) - created) if created else ""
