"""Fields of our kinds, each declared once: as a row of a dataclass, with its form in manifests.

A row is the default of a dataclass' field. Readers, writers and the CRDs are derived from it
(``core.status.part``, ``core.spec.fields``), so a field is added in one place; its static type is
that of the dataclass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Protocol, TypedDict, TypeVar, Unpack, overload

from daskjob.core.caching import cached
from daskjob.core.fields import Reader
from daskjob.core.manifests import Manifest
from daskjob.core.shapes import Anything, Many, Record, Shape, Time

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_KEY = "row"
#: More than there are dataclasses of rows.
TABLES = 128


class Options(TypedDict, total=False):
    """The options of a row, besides its shape and its default."""

    #: Written even when empty or zero. Without it an empty value is absent from the manifest.
    always: bool
    #: Replace the shape's own reader and writer.
    read: Callable[[Any], object]
    write: Callable[[Any], object]
    #: The nested mapping of the manifest that holds the field, for a flat dataclass.
    within: Record
    #: Whether a running job still follows the field once its policy is frozen; not with ``within``.
    followed: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One field of our kinds, in the form that manifests have."""

    shape: Shape
    #: The value of a field that the manifest leaves out.
    absent: object = None
    #: The dataclass of a nested mapping, or of the items of a list.
    of: type[Any] | None = None
    always: bool = False
    read: Callable[[Any], object] | None = None
    write: Callable[[Any], object] | None = None
    within: Record | None = None
    followed: bool = False


class Readable(Protocol[T_co]):
    """A shape that reads a value of one type."""

    def read(self, reader: Reader, /) -> T_co | None:
        """Return the value, ``None`` where there is none."""
        ...


@overload
def row(shape: Time, **options: Unpack[Options]) -> datetime | None: ...
@overload
def row(shape: Anything, **options: Unpack[Options]) -> object: ...
@overload
def row(shape: Record, **options: Unpack[Options]) -> Manifest | None: ...
@overload
def row(shape: Readable[T], absent: T, **options: Unpack[Options]) -> T: ...
@overload
def row(shape: Readable[T], **options: Unpack[Options]) -> T | None: ...
def row(shape: Any, absent: Any = None, **options: Unpack[Options]) -> Any:
    """Return the field of a dataclass that holds a field of manifests."""
    return field(default=absent, metadata={_KEY: Row(shape, absent, **options)})


def required(shape: Shape, absent: object, **options: Unpack[Options]) -> Mapping[str, Row]:
    """Return the metadata of a field without a default: ``field(metadata=required(…))``.

    ``absent``: the value of a field that a manifest lacks.
    """
    return {_KEY: Row(shape, absent, **options)}


def parsed_row(
    shape: Shape,
    absent: T,
    read: Callable[[Reader], T],
    write: Callable[[T], object] | None = None,
    *,
    within: Record | None = None,
) -> T:
    """Return a field of a dataclass with functions that read and write it."""
    found = Row(shape, absent, read=read, write=write, within=within)
    made: T = field(default=absent, metadata={_KEY: found})
    return made


def nested(name: str, description: str, of: type[T]) -> T | None:
    """Return a field of a dataclass that holds a mapping, which is a dataclass too."""
    shape = Record(name, description, shapes_of(of), open=True)
    found: T | None = field(default=None, metadata={_KEY: Row(shape, of=of)})
    return found


def nested_list(
    name: str, description: str, of: type[T], item: str, *, key: str = ""
) -> tuple[T, ...]:
    """Return a field of a dataclass that holds a list of mappings, which are dataclasses too."""
    shape = Many(name, description, Record("", item, shapes_of(of), open=True), key=key)
    found: tuple[T, ...] = field(default=(), metadata={_KEY: Row(shape, (), of)})
    return found


@cached(TABLES)
def rows_of(kind: type[Any]) -> Mapping[str, Row]:
    """Return the rows of a dataclass by field name, in their order."""
    return {f.name: f.metadata[_KEY] for f in fields(kind) if _KEY in f.metadata}


def shapes_of(kind: type[Any]) -> tuple[Shape, ...]:
    """Return the shapes of a dataclass' fields; those of one nested mapping are one shape."""
    rows = rows_of(kind).values()
    found: dict[str, Shape] = {}
    for line in rows:
        if line.within is None:
            found[line.shape.name] = line.shape
        else:
            inner = tuple(other.shape for other in rows if other.within is line.within)
            found[line.within.name] = replace(line.within, fields=inner)
    return tuple(found.values())
