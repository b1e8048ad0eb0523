"""Reading the fields of a spec by the rows of its dataclass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from daskjob.core.caching import cached
from daskjob.core.fields import Reader
from daskjob.core.manifests import Manifest
from daskjob.core.rows import TABLES, Readable, Row, rows_of, shapes_of
from daskjob.core.shapes import Choice, Record


def read_fields(kind: type[Any], spec: Reader, **defaults: object) -> dict[str, Any]:
    """Return the fields of a dataclass by name; ``defaults`` take precedence over its rows'."""
    table = _table(kind)
    readers = {"": spec, **{record.name: record.read(spec) for record in table.records}}
    found = {}
    for name, line in table.lines.items():
        reader, value = readers[line.within], None
        if line.required or reader.fields.get(line.key) is not None:
            value = line.read(reader)
        if value is None or value == "":
            value = defaults.get(name, line.absent)
        found[name] = value
    return found


def written_fields(value: object) -> Manifest:
    """Return a dataclass as a spec holds it; ``None`` is left out."""
    found: Manifest = {}
    for name, line in _table(type(value)).lines.items():
        held = getattr(value, name)
        if held is not None:
            within = found.setdefault(line.within, {}) if line.within else found
            within[line.key] = line.write(held) if line.write else held
    return found


def followed_fields(kind: type[Any], spec: Mapping[str, object]) -> Manifest:
    """Return the fields that a running job still follows, as far as the spec sets them."""
    reader = Reader(spec, "spec", [])
    lines = [line for line in _table(kind).lines.values() if line.followed]
    found = {line.key: line.read(reader) for line in lines if reader.has(line.key)}
    return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class _Line:
    """How to read and write one field, derived from its row."""

    key: str
    within: str
    absent: object
    required: bool
    followed: bool
    read: Callable[[Reader], object]
    write: Callable[[Any], object] | None


@dataclass(frozen=True, slots=True)
class _Table:
    """The lines of a dataclass; computed once for each class, since every pass reads specs."""

    lines: Mapping[str, _Line]
    #: The nested mappings that hold some of its fields.
    records: Sequence[Record]


@cached(TABLES)
def _table(kind: type[Any]) -> _Table:
    rows = rows_of(kind)
    flat = {row.within.name for row in rows.values() if row.within}
    return _Table(
        lines={name: _line(row) for name, row in rows.items()},
        records=[s for s in shapes_of(kind) if isinstance(s, Record) and s.name in flat],
    )


def _line(row: Row) -> _Line:
    return _Line(
        key=row.shape.name,
        within=row.within.name if row.within else "",
        absent=row.absent,
        required=bool(getattr(row.shape, "required", "")),
        followed=row.followed,
        read=row.read or cast("Readable[object]", row.shape).read,
        write=row.write or (str if isinstance(row.shape, Choice) else None),
    )
