"""Values that are never changed: what was made of one is kept, another is made where it differs.

No I/O here. Passes are made over the same few objects again and again, and most of what they read
stands as it stood in the pass before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Given = TypeVar("Given")
Made = TypeVar("Made")
Asked = ParamSpec("Asked")
Value = TypeVar("Value", bound="DataclassInstance")

#: So much of what one function made is kept: more than there are passes under way, each of which
#: reads a few objects of a kind, and far less than there may be objects: what is kept of hundreds
#: is memory that is in pieces when they are gone.
KEPT = 64
#: So many words are shared by all who have them.
SHARED = 1024
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

    @kept_by_value(KEPT)
    def of_the_same(given: _Same[Given]) -> Made:
        return function(given.value)

    @wraps(function)
    def kept_function(given: Given) -> Made:
        return of_the_same(_Same(given))

    return kept_function


def kept_by_value(most: int) -> Callable[[Callable[Asked, Made]], Callable[Asked, Made]]:
    """Return a decorator that keeps what a function made last, so many of them, for equal values.

    For values that have a hash and are small: words, moments.
    """

    def keeping(function: Callable[Asked, Made]) -> Callable[Asked, Made]:
        found = lru_cache(maxsize=most)(function)
        _forgetful.append(found.cache_clear)
        # Its own type takes any hashable arguments, and so would hide mistakes from a checker.
        return cast("Callable[Asked, Made]", found)

    return keeping


@kept_by_value(SHARED)
def shared(text: str) -> str:
    """Return the same text, as one that others have too.

    For words that many objects hold, each as it was read: without this each holds its own.
    """
    return text


def forget() -> None:
    """Let go of all that is kept: the values that it was made of may be nobody's any more."""
    for let_go in _forgetful:
        let_go()


def updated(value: Value, **changes: object) -> Value:
    """Return a dataclass with fields replaced: the very same one where nothing differs."""
    if all(getattr(value, name) == new for name, new in changes.items()):
        return value
    return replace(value, **changes)
