"""Reading a manifest field by field, so that all its mistakes are found at once.

A ``Reader`` reads one mapping of the manifest, returns typed values or their defaults, and appends
a ``FieldError`` for each invalid value. Null means absent, as Go clients write it (design §2.1).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import TypeVar

from daskjob.core.errors import FieldError
from daskjob.core.manifests import Manifest

Choice = TypeVar("Choice", bound=StrEnum)

#: The largest integer of an int32 field, such as replicas or seconds.
INT32 = 2**31 - 1
INT64 = 2**63 - 1


class Reader:
    """One mapping of a manifest, its path, and the list that collects mistakes.

    ``strict`` makes unknown fields a mistake: right for a user's file, wrong for an object of a
    cluster, which may come from a newer or an older client.
    """

    def __init__(
        self, value: object, path: str, errors: list[FieldError], *, strict: bool = False
    ) -> None:
        self.path = path
        self.errors = errors
        self.strict = strict
        #: Whether there is a mapping; only then can its required fields be missing.
        self.given = isinstance(value, Mapping)
        self.fields: Mapping[str, object] = {}
        if isinstance(value, Mapping):
            self.fields = value
        elif value is not None:
            self.mistake("", value, "write a mapping of fields")

    def at(self, key: str) -> str:
        """Return the path of a field below this mapping."""
        return f"{self.path}.{key}" if self.path and key else self.path or key

    def mistake(self, key: str, value: object, allowed: str) -> None:
        """Record an invalid value of a field, and what to write instead."""
        self.errors.append(FieldError(self.at(key), value, allowed))

    def has(self, key: str) -> bool:
        """Return whether the field is set; null does not count."""
        return self.fields.get(key) is not None

    def only(self, known: Iterable[str]) -> None:
        """If strict, record every unknown field, with the most similar known one."""
        if not self.strict:
            return
        names = list(known)
        for key in self.fields:
            if key not in names:
                near = difflib.get_close_matches(str(key), names, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                listed = ", ".join(names)
                self.mistake(str(key), self.fields[key], f"{hint}known fields: {listed}")

    def missing(self, key: str, wanted: str) -> None:
        """Record that a field is missing, and what to write."""
        if self.given:
            self.mistake(key, None, wanted)

    def mapping(self, key: str) -> Reader:
        """Return the reader of a nested mapping; an empty one where it is absent."""
        return Reader(self.fields.get(key), self.at(key), self.errors, strict=self.strict)

    def items(self, key: str) -> Iterator[Reader]:
        """Yield a reader for each mapping of a list."""
        value = self.fields.get(key)
        if value is None:
            return
        if not isinstance(value, list):
            self.mistake(key, value, "write a list")
            return
        for index, item in enumerate(value):
            yield Reader(item, f"{self.at(key)}[{index}]", self.errors, strict=self.strict)

    def raw(self, key: str) -> Manifest:
        """Return a nested mapping as it is, to pass it through unchanged."""
        value = self.fields.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.mistake(key, value, "write a mapping of fields")
            return {}
        return value

    def text(self, key: str, default: str = "") -> str:
        """Return a string."""
        value = self.fields.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            self.mistake(key, value, "write a string")
            return default
        return value

    def boolean(self, key: str) -> bool | None:
        """Return true, false, or ``None`` where the field is absent."""
        value = self.fields.get(key)
        if value is None or isinstance(value, bool):
            return value
        self.mistake(key, value, "write true or false")
        return None

    def integer(self, key: str, minimum: int = 0, maximum: int = INT32) -> int | None:
        """Return an integer in the given range, both ends included."""
        value = self.fields.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            self.mistake(key, value, f"write an integer {_range(minimum, maximum)}")
            return None
        return value

    def number(self, key: str, minimum: float) -> float | None:
        """Return a finite number of at least the minimum."""
        value = self.fields.get(key)
        if value is None:
            return None
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not math.isfinite(value)
            or value < minimum
        ):
            self.mistake(key, value, f"write a number of at least {minimum:g}")
            return None
        return float(value)

    def choice(self, key: str, of: type[Choice]) -> Choice | None:
        """Return one of an enumeration's values."""
        value = self.fields.get(key)
        if value is None:
            return None
        if isinstance(value, str) and value in [str(member) for member in of]:
            return of(value)
        self.mistake(key, value, "write one of " + ", ".join(of))
        return None

    def strings(self, key: str) -> dict[str, str]:
        """Return a map of strings to strings, such as labels."""
        value = self.fields.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.mistake(key, value, "write a map of strings")
            return {}
        found: dict[str, str] = {}
        for name, content in value.items():
            if isinstance(name, str) and isinstance(content, str):
                found[name] = content
            else:
                self.mistake(f"{key}[{name}]", content, "write a string (quote it)")
        return found


def _range(minimum: int, maximum: int) -> str:
    if maximum >= INT32:
        return f"of at least {minimum}"
    return f"from {minimum} to {maximum}"
