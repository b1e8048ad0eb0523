"""Caches of what functions return, for values that are never changed.

No I/O here. Passes read the same few objects again and again, and most of them are as they were in
the pass before.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Generic, ParamSpec, TypeVar, cast

Given = TypeVar("Given")
Made = TypeVar("Made")
Asked = ParamSpec("Asked")

#: Results cached per function: more than there are passes under way, each of which reads a few
#: objects of a kind, and far fewer than there may be objects: results of hundreds would leave
#: fragmented memory behind when the objects are gone.
RESULTS_CACHED = 64
#: Interned strings, at most.
STRINGS_SHARED = 1024
_clears: list[Callable[[], None]] = []


class _Same(Generic[Given]):
    """A value compared by identity: mappings have no hash, and comparing them is expensive."""

    __slots__ = ("value",)

    def __init__(self, value: Given) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value


def cached_by_identity(function: Callable[[Given], Made]) -> Callable[[Given], Made]:
    """Return the function with its last results cached, for the very same values.

    For values that are never changed, such as manifests in a cache: there, an object that changed
    is another mapping.
    """

    @cached(RESULTS_CACHED)
    def of_the_same(given: _Same[Given]) -> Made:
        return function(given.value)

    @wraps(function)
    def cached_function(given: Given) -> Made:
        return of_the_same(_Same(given))

    return cached_function


def cached(most: int) -> Callable[[Callable[Asked, Made]], Callable[Asked, Made]]:
    """Return a decorator that caches a function's last results for equal values, ``most`` of them.

    For small values that have a hash: strings, times.
    """

    def caching(function: Callable[Asked, Made]) -> Callable[Asked, Made]:
        found = lru_cache(maxsize=most)(function)
        _clears.append(found.cache_clear)
        # Its own type takes any hashable arguments, and so would hide mistakes from a checker.
        return cast("Callable[Asked, Made]", found)

    return caching


@cached(STRINGS_SHARED)
def shared(text: str) -> str:
    """Return an equal string: the same one for all callers.

    For strings that many objects hold: without this each object holds a copy of its own.
    """
    return text


def forget() -> None:
    """Clear every cache: the values behind the results may not be used any more."""
    for clear in _clears:
        clear()
