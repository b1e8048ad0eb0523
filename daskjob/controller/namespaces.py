"""The namespaces of the operator, in the syntax of kopf's ``--namespace``.

A name, a glob (``team-*``), an exclusion (``!team-test``), or several of them separated by commas.
The rules are those that kopf documents for its ``match_namespace``, with one difference: in a list
without exclusions every part counts, where kopf takes the first alone.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from daskjob.core.caching import cached

_PATTERN_CHARACTERS = frozenset("*?![]")


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The namespaces that match the patterns; no patterns: all of them."""

    patterns: tuple[str, ...] = ()

    @property
    def everywhere(self) -> bool:
        """Whether these are all namespaces."""
        return not self.patterns

    @property
    def names(self) -> tuple[str, ...]:
        """The namespaces to watch, sorted; empty: all, since patterns cannot be enumerated."""
        parts = {part for pattern in self.patterns for part in _parts(pattern)}
        if any(_PATTERN_CHARACTERS & set(part) for part in parts):
            return ()
        return tuple(sorted(parts))

    def cover(self, namespace: str) -> bool:
        """Return whether the operator manages a namespace."""
        return self.everywhere or _covered(self.patterns, namespace)

    def __str__(self) -> str:
        if self.everywhere:
            return "all namespaces"
        names = self.names or self.patterns
        return ("namespace " if len(names) == 1 else "namespaces ") + ", ".join(names)


def namespaces_of(words: Iterable[str]) -> Namespaces:
    """Return the namespaces of these patterns, without duplicates and empty ones."""
    return Namespaces(tuple(dict.fromkeys(word.strip() for word in words if word.strip(" ,"))))


@cached(4096)
def _covered(patterns: tuple[str, ...], namespace: str) -> bool:
    # Cached, since it is called for every change of every object.
    return any(_matches(namespace, one) for one in patterns)


def _parts(pattern: str) -> list[str]:
    return [part.strip() for part in pattern.split(",") if part.strip()]


def _matches(namespace: str, pattern: str) -> bool:
    """Return whether a namespace matches one pattern.

    Without exclusions, it must match any part. With them, later parts win: a part may include again
    what an earlier one excluded, but adds nothing else.
    """
    parts = _parts(pattern)
    if not any(part.startswith("!") for part in parts):
        return any(fnmatch.fnmatchcase(namespace, part) for part in parts)
    if parts[0].startswith("!"):
        parts.insert(0, "*")
    included = first = fnmatch.fnmatchcase(namespace, parts[0])
    for part in parts[1:]:
        if part.startswith("!"):
            included = included and not fnmatch.fnmatchcase(namespace, part.lstrip("!"))
        else:
            included = included or (first and fnmatch.fnmatchcase(namespace, part))
    return included
