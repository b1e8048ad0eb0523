"""Caches of function results, for immutable values.

Passes read the same few objects repeatedly; most have not changed since the previous pass.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Generic, ParamSpec, TypeVar, cast

Given = TypeVar("Given")
Made = TypeVar("Made")
Asked = ParamSpec("Asked")

#: Results cached per function: enough for the concurrent passes. Each of them reads a few objects
#: of a kind, and far fewer than there may be objects: hundreds of results would leave fragmented
#: memory behind once the objects are gone.
RESULTS_CACHED = 64
#: Maximum number of shared strings.
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
    """Return the function with its last results cached by the identity of its argument.

    For values that are never modified, such as manifests in a cache: there, a changed object is
    another mapping.
    """

    @cached(RESULTS_CACHED)
    def result_for(given: _Same[Given]) -> Made:
        return function(given.value)

    @wraps(function)
    def cached_function(given: Given) -> Made:
        return result_for(_Same(given))

    return cached_function


def cached(most: int) -> Callable[[Callable[Asked, Made]], Callable[Asked, Made]]:
    """Return a decorator that caches a function's last ``most`` results, for equal arguments.

    For small hashable values: strings, times.
    """

    def caching(function: Callable[Asked, Made]) -> Callable[Asked, Made]:
        found = lru_cache(maxsize=most)(function)
        _clears.append(found.cache_clear)
        # The type of lru_cache accepts any hashable argument, which would hide errors from mypy.
        return cast("Callable[Asked, Made]", found)

    return caching


@cached(STRINGS_SHARED)
def shared(text: str) -> str:
    """Return an equal string, the same object for all callers.

    For strings that many objects hold: otherwise each object holds its own copy.
    """
    return text


def forget() -> None:
    """Clear every cache: the cached values may not be in use any more."""
    for clear in _clears:
        clear()
