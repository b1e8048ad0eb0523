"""The shapes of fields, each declared once: for the readers of specs and for the CRDs.

A shape is a field's name, its description, and its limits. Reading one records what the API server
would reject, with a message about what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeAlias, TypeVar

from daskjob.core.fields import INT32, INT64, Reader
from daskjob.core.manifests import integer

Member = TypeVar("Member", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit beyond types and ranges, in the API server's language (CEL).

    The readers of the specs check the same in Python, for files and for local runs; each rule is
    next to its reader, and tests give both the same manifests (tests/core/specimens.py).
    """

    #: True for a valid value; ``self`` is the value, ``oldSelf`` the previous one.
    expression: str
    #: What to write instead.
    message: str
    #: The nested field that the message is about, such as ``.maxSeconds``.
    field: str = ""
    #: Checked also where there is no old value; ``oldSelf`` is an optional then.
    at_creation: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """A string."""

    name: str
    description: str
    #: What to write if the field is missing or empty; empty if it is optional.
    required: str = ""
    longest: int | None = None
    #: Matches the whole text; in the syntax that Python and RE2 share.
    pattern: re.Pattern[str] | None = None
    #: What to write if it is too long or does not match.
    message: str = ""
    rules: tuple[Rule, ...] = ()

    def read(self, reader: Reader) -> str:
        """Return the text, empty where there is none."""
        found = reader.text(self.name)
        if self.required and reader.fields.get(self.name) in (None, ""):
            reader.missing(self.name, self.required)
        if found and not self.allows(found):
            reader.mistake(self.name, found, self.message)
        return found

    def allows(self, text: str) -> bool:
        """Return whether a text is short enough and matches."""
        if self.longest is not None and len(text) > self.longest:
            return False
        return self.pattern is None or self.pattern.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number in a range, both ends included."""

    name: str
    description: str
    required: str = ""
    minimum: int = 0
    maximum: int = INT32
    #: What the API server sets for an absent field. Only if absent has no other meaning.
    default: int | None = None
    #: Whether a larger number is read as the maximum, besides being a mistake: an object that an
    #: older CRD admitted must not be scaled down to the default.
    capped: bool = False

    def read(self, reader: Reader) -> int | None:
        """Return the number, ``None`` where there is none."""
        if self.required and not reader.has(self.name):
            reader.missing(self.name, self.required)
        found = reader.integer(self.name, self.minimum, self.maximum)
        given = integer(reader.fields.get(self.name))
        is_larger = self.capped and given is not None and given > self.maximum
        return self.maximum if is_larger else found


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number."""

    name: str
    description: str
    minimum: float

    def read(self, reader: Reader) -> float | None:
        """Return the number, ``None`` where there is none."""
        return reader.number(self.name, self.minimum)


@dataclass(frozen=True, slots=True)
class Boolean:
    """True or false."""

    name: str
    description: str

    def read(self, reader: Reader) -> bool | None:
        """Return the value, ``None`` where there is none."""
        return reader.boolean(self.name)


@dataclass(frozen=True, slots=True)
class Choice(Generic[Member]):
    """One value of an enumeration."""

    name: str
    description: str
    of: type[Member]
    required: str = ""
    #: The allowed values; empty: all of them.
    only: tuple[Member, ...] = ()
    #: Whether ``""`` is allowed for none, as Go's older types write it.
    or_empty: bool = False
    #: Whether server-side apply accepts null too: an enum cannot hold null, a rule can allow it.
    or_null: bool = False

    @property
    def values(self) -> tuple[str, ...]:
        """The allowed values."""
        return tuple(str(member) for member in self.only or self.of)

    def read(self, reader: Reader) -> Member | None:
        """Return the value, ``None`` where there is none."""
        if self.required and not reader.has(self.name):
            reader.missing(self.name, self.required)
        found = reader.choice(self.name, self.of)
        if found is None or str(found) in self.values:
            return found
        reader.mistake(self.name, str(found), "write one of " + ", ".join(self.values))
        return None


@dataclass(frozen=True, slots=True)
class Time:
    """A time, in RFC 3339."""

    name: str
    description: str


@dataclass(frozen=True, slots=True)
class Texts:
    """A map of texts, such as labels."""

    name: str
    description: str
    at_most: int | None = None
    rules: tuple[Rule, ...] = ()

    def read(self, reader: Reader) -> dict[str, str]:
        """Return the map, empty where there is none."""
        found = reader.strings(self.name)
        if self.at_most is not None and len(found) > self.at_most:
            reader.mistake(self.name, f"{len(found)} items", f"write at most {self.at_most}")
        return found


@dataclass(frozen=True, slots=True)
class Anything:
    """Any JSON value."""

    name: str
    description: str


@dataclass(frozen=True, slots=True)
class Many:
    """A list."""

    name: str
    description: str
    of: Shape
    #: What to write if the list is missing or empty; empty if it is optional.
    required: str = ""
    at_most: int | None = None
    #: The field that identifies an item: no two items may share its value.
    key: str = ""
    rules: tuple[Rule, ...] = ()

    def read(self, reader: Reader) -> Iterator[Reader]:
        """Yield a reader for each item, which is a mapping."""
        found = reader.fields.get(self.name)
        if self.required and found in (None, []):
            reader.missing(self.name, self.required)
        if self.at_most is not None and isinstance(found, list) and len(found) > self.at_most:
            reader.mistake(self.name, f"{len(found)} items", f"write at most {self.at_most}")
        for item in reader.items(self.name):
            if isinstance(self.of, Record):
                self.of.check(item)
            yield item


@dataclass(frozen=True, slots=True)
class Record:
    """A mapping of known fields; an open one keeps unknown fields too."""

    name: str
    description: str
    fields: tuple[Shape, ...] = ()
    required: str = ""
    open: bool = False
    rules: tuple[Rule, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the fields."""
        return names_of(self.fields)

    def read(self, reader: Reader) -> Reader:
        """Return the reader of the mapping, an empty one where there is none."""
        if self.required and not reader.has(self.name):
            reader.missing(self.name, self.required)
        found = reader.mapping(self.name)
        self.check(found)
        return found

    def check(self, found: Reader) -> None:
        """Record the unknown fields of a mapping."""
        if not self.open:
            found.only(self.names)


Shape: TypeAlias = (
    Text | Integer | Number | Boolean | Choice[Any] | Time | Texts | Anything | Many | Record
)


def count(name: str, description: str) -> Integer:
    """Return a number of a status: of any size, so that no number makes the API reject a status."""
    return Integer(name, description, minimum=-INT64, maximum=INT64)


def names_of(fields: Iterable[Shape]) -> tuple[str, ...]:
    """Return the names of fields, in their order."""
    return tuple(field.name for field in fields)
