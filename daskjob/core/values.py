"""Immutable values: a change makes a new value."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Value = TypeVar("Value", bound="DataclassInstance")


def updated(value: Value, **changes: object) -> Value:
    """Return a dataclass with fields replaced; the same object if nothing differs."""
    if all(getattr(value, name) == new for name, new in changes.items()):
        return value
    return replace(value, **changes)
