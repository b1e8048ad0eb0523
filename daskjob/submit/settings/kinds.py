"""The kinds of settings: how a value is read from a flag's text, or from TOML and YAML.

``read`` returns the value in the form that the rest of the code uses. It raises ``ValueError`` with
a message about what to write instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from daskjob.core.fields import INT32
from daskjob.core.quantity import parse_bytes, parse_quantity, similar_quantity
from daskjob.submit.settings.urls import hidden

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: Less does not hold a worker and its nanny.
LEAST_MEMORY = 256 * 2**20
MOST_CPUS = 10_000
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")


class Kind(Protocol[T_co]):
    """A kind of settings."""

    @property
    def metavar(self) -> str:
        """The value's placeholder in help texts."""
        ...

    @property
    def example(self) -> str:
        """A value as TOML writes it."""
        ...

    def read(self, value: object) -> T_co:
        """Return the value that a flag's text, TOML or YAML means."""
        ...


@runtime_checkable
class Repeated(Protocol):
    """A kind whose places add up, and whose flags may be repeated."""

    def joined(self, low: Any, high: Any, /) -> Any:
        """Return the value of two places; the second one is more important."""
        ...


@dataclass(frozen=True, slots=True)
class Text:
    """A text."""

    metavar: str
    example: str
    pattern: re.Pattern[str] | None = None
    #: What to write if it does not match.
    message: str = "write a text"

    def read(self, value: object) -> str:
        """Return the text."""
        if not isinstance(value, str) or not value.strip():
            raise ValueError(self.message)
        if self.pattern and not self.pattern.fullmatch(value):
            raise ValueError(self.message)
        return value


@dataclass(frozen=True, slots=True)
class Checked:
    """A text that a function reads."""

    metavar: str
    example: str
    item: Callable[[str], str]

    def read(self, value: object) -> str:
        """Return what the function makes of the text."""
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"write {self.metavar}")
        return self.item(value)


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number in a range."""

    minimum: int
    maximum: int = INT32
    metavar: str = "N"
    example: str = "2"

    def read(self, value: object) -> int:
        """Return the number."""
        text = str(value).strip()
        number = int(text) if re.fullmatch(r"\d{1,12}", text) else -1
        if isinstance(value, bool) or not self.minimum <= number <= self.maximum:
            limits = f"from {self.minimum} to {self.maximum}"
            least = f"of at least {self.minimum}"
            raise ValueError(f"write a number {least if self.maximum >= INT32 else limits}")
        return number


@dataclass(frozen=True, slots=True)
class Duration:
    """A time span, in seconds."""

    metavar: str = "DURATION"
    example: str = '"2h"'

    def read(self, value: object) -> int:
        """Return whole seconds, at least one."""
        text = "" if isinstance(value, bool) else str(value).strip().lower()
        parts = _DURATION.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError("write a duration such as 90, 90s, 10m or 1h30m")
        seconds = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
        if not 1 <= seconds <= INT32:
            raise ValueError("write a duration of at least 1 s")
        return round(seconds)


@dataclass(frozen=True, slots=True)
class Memory:
    """A size of memory, as Kubernetes writes it."""

    metavar: str = "SIZE"
    example: str = '"4Gi"'

    def read(self, value: object) -> str:
        """Return the size as a quantity; Dask's ``4GiB`` and ``4 GB`` are read too."""
        try:
            size = parse_bytes("" if isinstance(value, bool) else str(value))
        except ValueError:
            near = similar_quantity(value)
            hint = f"did you mean {near}? " if near else ""
            raise ValueError(f"{hint}write a size such as 512Mi, 4Gi or 4G") from None
        if size < LEAST_MEMORY:
            meant = f"did you mean {value}Gi? " if str(value).isdigit() else ""
            raise ValueError(f"{meant}write at least 256Mi: a worker does not fit into less")
        return bytes_as_quantity(size)


def bytes_as_quantity(size: int) -> str:
    """Return a number of bytes as the shortest exact quantity."""
    for suffix, unit in (
        *(("Gi", 2**30), ("G", 10**9), ("Mi", 2**20)),
        *(("M", 10**6), ("Ki", 2**10), ("k", 10**3)),
    ):
        if size % unit == 0:
            return f"{size // unit}{suffix}"
    return str(size)


@dataclass(frozen=True, slots=True)
class Cpu:
    """A number of CPUs, as Kubernetes writes it."""

    metavar: str = "CPUS"
    example: str = "2"

    def read(self, value: object) -> str:
        """Return the number as a quantity: ``2``, ``500m``."""
        try:
            number = parse_quantity("" if isinstance(value, bool) else str(value))
        except ValueError:
            near = similar_quantity(value)
            hint = f"did you mean {near}? " if near else ""
            raise ValueError(f"{hint}write a number of CPUs such as 2, 0.5 or 500m") from None
        milli = number * 1000
        if milli < 1 or milli != milli.to_integral_value() or number > MOST_CPUS:
            raise ValueError(f"write a number of CPUs from 1m to {MOST_CPUS}, such as 2 or 500m")
        return str(int(number)) if number == int(number) else f"{int(milli)}m"


def whole_cpus(quantity: str) -> int:
    """Return a number of CPUs, rounded up: the threads that they can run."""
    return max(math.ceil(Decimal(parse_quantity(quantity))), 1)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the largest number of something."""

    minimum: int
    maximum: int

    def __str__(self) -> str:
        return f"{self.minimum}:{self.maximum}"


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds, as ``2:10``."""

    maximum: int
    metavar: str = "MIN:MAX"
    example: str = '"2:10"'

    def read(self, value: object) -> Bounds:
        """Return the bounds."""
        found = re.fullmatch(r"(\d{1,9}):(\d{1,9})", str(value).strip())
        if found is None:
            # YAML reads 2:10 without quotes as 130, as minutes and seconds.
            quoted = ", in quotes" if isinstance(value, int) else ""
            message = "write the least and the largest number of workers, such as 2:10"
            raise ValueError(message + quoted)
        bounds = Bounds(int(found[1]), int(found[2]))
        if not 1 <= bounds.maximum <= self.maximum:
            raise ValueError(f"write a largest number of workers from 1 to {self.maximum}")
        if bounds.minimum > bounds.maximum:
            raise ValueError(
                f"write the least number first: {bounds.maximum}:{bounds.minimum}, not {bounds}"
            )
        return bounds


@dataclass(frozen=True, slots=True)
class Pairs:
    """Texts by key: flags ``KEY=VALUE``, or a table.

    Places add up; of equal keys, the one of the more important place is used.
    """

    example: str
    key: re.Pattern[str]
    #: What to write if a key does not match.
    message: str
    metavar: str = "KEY=VALUE"
    #: Values are texts, else what TOML and YAML have.
    texts: bool = True
    #: What a value must match, and what to write if it does not.
    value: re.Pattern[str] | None = None
    value_message: str = ""

    def joined(self, low: Mapping[str, Any], high: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the pairs of two places."""
        return {**low, **high}

    def read(self, value: object) -> Mapping[str, Any]:
        """Return the pairs of one flag, of several, or of a table."""
        if isinstance(value, Mapping):
            return dict(self._pair(key, item) for key, item in value.items())
        flags = value if isinstance(value, list | tuple) else [value]
        return dict(self._flag(flag) for flag in flags)

    def _flag(self, flag: object) -> tuple[str, object]:
        if not isinstance(flag, str) or "=" not in flag:
            raise ValueError(f"{flag!r}: write {self.metavar}")
        key, _, text = flag.partition("=")
        return self._pair(key, text)

    def _pair(self, key: object, item: object) -> tuple[str, object]:
        if not isinstance(key, str) or not self.key.fullmatch(key):
            raise ValueError(f"{key!r}: {self.message}")
        if not self.texts:
            return key, item
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise ValueError(f"{key}: {item!r}: write a text, in quotes")
        if self.value and not self.value.fullmatch(str(item)):
            raise ValueError(f"{key}: {item!r}: {self.value_message}")
        return key, str(item)


@dataclass(frozen=True, slots=True)
class Items(Generic[T]):
    """A list: repeated flags, or a list.

    Places add up; of items with one identity, the one of the more important place is used.
    """

    metavar: str
    example: str
    item: Callable[[str], T]
    #: What makes two items the same one.
    identity: Callable[[T], object] = lambda item: item

    def read(self, value: object) -> tuple[T, ...]:
        """Return the items of one flag, of several, or of a list."""
        listed = value if isinstance(value, list | tuple) else [value]
        found: list[T] = []
        for text in listed:
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"{text!r}: write {self.metavar}")
            try:
                found.append(self.item(text))
            except ValueError as error:
                raise ValueError(hidden(f"{text!r}: {error}")) from None
        return tuple(found)

    def joined(self, low: tuple[T, ...], high: tuple[T, ...]) -> tuple[T, ...]:
        """Return the items of two places."""
        return tuple({self.identity(item): item for item in (*low, *high)}.values())
