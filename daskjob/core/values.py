"""Values that are never changed: another one is made where something differs. No I/O here."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Value = TypeVar("Value", bound="DataclassInstance")


def updated(value: Value, **changes: object) -> Value:
    """Return a dataclass with fields replaced: the very same one where nothing differs."""
    if all(getattr(value, name) == new for name, new in changes.items()):
        return value
    return replace(value, **changes)
