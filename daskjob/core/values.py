"""Values that are never changed: what was made of one is kept, another is made where it differs.

No I/O here. Passes are made over the same few objects again and again, and most of what they read
stands as it stood in the pass before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Given = TypeVar("Given")
Made = TypeVar("Made")
Value = TypeVar("Value", bound="DataclassInstance")

#: So much of what one function made is kept: more than there are passes under way, far less than
#: there may be objects.
KEPT = 512
_forgetful: list[Callable[[], None]] = []


class _Same(Generic[Given]):
    """A value by what it is, not by what is in it: mappings have no hash, and comparing costs."""

    __slots__ = ("value",)

    def __init__(self, value: Given) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value


def kept(function: Callable[[Given], Made]) -> Callable[[Given], Made]:
    """Return the function with what it made last kept, for the very same values.

    For values that nobody changes, such as manifests in a cache, where another state of an object
    is another mapping.
    """

    @lru_cache(maxsize=KEPT)
    def of_the_same(given: _Same[Given]) -> Made:
        return function(given.value)

    _forgetful.append(of_the_same.cache_clear)

    @wraps(function)
    def kept_function(given: Given) -> Made:
        return of_the_same(_Same(given))

    return kept_function


def forget() -> None:
    """Let go of all that is kept: the values that it was made of may be nobody's any more."""
    for let_go in _forgetful:
        let_go()


def updated(value: Value, **changes: object) -> Value:
    """Return a dataclass with fields replaced: the very same one where nothing differs."""
    if all(getattr(value, name) == new for name, new in changes.items()):
        return value
    return replace(value, **changes)
