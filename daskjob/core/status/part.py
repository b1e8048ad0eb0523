"""Reading and writing a status by its rows: null and nonsense count as absent.

Every pass reads and writes statuses, so the converters of a dataclass are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Self, TypeVar, cast

from daskjob.core.caching import cached
from daskjob.core.manifests import Manifest, format_time, mapping, mappings, parse_time
from daskjob.core.rows import TABLES, Row, rows_of, shapes_of
from daskjob.core.shapes import Anything, Choice, Integer, Many, Record, Shape, Text, Time

T = TypeVar("T")
Convert = Callable[[Any], object]


class StatusPart:
    """A status, or a mapping in one: a dataclass of rows."""

    __slots__ = ()

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, object] | None) -> Self:
        """Return the status that the API holds; ``""``, null and nonsense count as absent."""
        return read(cls, mapping(manifest))

    def to_manifest(self) -> Manifest:
        """Return the status as the API holds it: absent, never null or empty."""
        return written(self)


def read(kind: type[T], manifest: Mapping[str, object]) -> T:
    """Return a dataclass of rows from what the API holds."""
    get = manifest.get
    values = [
        absent if (value := get(name)) is None else convert(value)
        for name, absent, convert in _table(kind).reads
    ]
    return cast("Callable[..., T]", kind)(*values)


def written(part: object) -> Manifest:
    """Return a dataclass of rows as the API holds it."""
    table = _table(type(part))
    found: Manifest = {}
    for (name, empty_too, convert), value in zip(table.writes, table.values(part), strict=True):
        if value is None or not (value or empty_too):
            continue
        found[name] = value if convert is None else convert(value)
    return found


def status_record(description: str, kind: type[StatusPart], **derived: Record) -> Record:
    """Return the shape of a kind's status.

    ``derived``: mappings that are only written, each keyed by the field that it follows.
    """
    found: list[Shape] = []
    for shape in shapes_of(kind):
        found.append(shape)
        if shape.name in derived:
            found.append(derived[shape.name])
    return Record("status", description, tuple(found), open=True)


@dataclass(frozen=True, slots=True)
class _Table:
    """The converters of a dataclass, derived from its rows."""

    reads: Sequence[tuple[str, object, Convert]]
    writes: Sequence[tuple[str, bool, Convert | None]]
    values: Callable[[object], tuple[object, ...]]


@cached(TABLES)
def _table(kind: type[Any]) -> _Table:
    rows = rows_of(kind)
    return _Table(
        reads=[(row.shape.name, row.absent, row.read or _reader(row)) for row in rows.values()],
        writes=[
            (row.shape.name, row.always or row.absent is None, row.write or _writer(row))
            for row in rows.values()
        ],
        # attrgetter returns a tuple only for two or more names; every part of a status has those.
        values=attrgetter(*rows),
    )


def _reader(row: Row) -> Convert:
    """Return the function that reads a value of a manifest; nonsense becomes the absent value."""
    absent, of = row.absent, row.of
    match row.shape:
        case Integer():
            return lambda value: value if type(value) is int else absent
        case Text():
            return lambda value: value if isinstance(value, str) else absent
        case Choice(of=enum):
            members: dict[object, object] = {str(member): member for member in enum}
            return lambda value: members.get(value, absent) if isinstance(value, str) else absent
        case Time():
            return lambda value: parse_time(value) or absent
        case Many() if of is not None:
            return lambda value: tuple([of.from_manifest(item) for item in mappings(value)])
        case Record() if of is not None:
            return lambda value: of.from_manifest(value) if isinstance(value, Mapping) else absent
        case Record():
            return lambda value: value if isinstance(value, dict) else absent
        case Anything():
            return lambda value: value
        case _:
            raise TypeError(f"no status holds a {type(row.shape).__name__}: {row.shape.name}")


def _writer(row: Row) -> Convert | None:
    """Return the function that writes a value to a manifest; ``None``: as it is."""
    match row.shape:
        case Choice():
            return str
        case Time():
            return format_time
        case Many():
            return lambda items: [item.to_manifest() for item in items]
        case Record() if row.of is not None:
            return lambda item: item.to_manifest()
        case _:
            return None
