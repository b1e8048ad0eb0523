"""Which namespaces the operator looks at, in the words of kopf's ``--namespace``.

No I/O here. A name, a glob (``team-*``), what it leaves out (``!team-test``), or several of them
with commas. The rules are those that kopf documents for its ``match_namespace``; a list without
exceptions also means all of its parts, of which kopf would take the first alone.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from daskjob.core.caching import cached

_PATTERN_CHARACTERS = frozenset("*?![]")


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The namespaces that patterns mean; no patterns: all of them."""

    patterns: tuple[str, ...] = ()

    @property
    def everywhere(self) -> bool:
        """Whether all namespaces are meant."""
        return not self.patterns

    @property
    def names(self) -> tuple[str, ...]:
        """The namespaces to watch, sorted; empty: all, since the patterns cannot be listed."""
        parts = {part for pattern in self.patterns for part in _parts(pattern)}
        if any(_PATTERN_CHARACTERS & set(part) for part in parts):
            return ()
        return tuple(sorted(parts))

    def cover(self, namespace: str) -> bool:
        """Say whether the operator looks at a namespace."""
        return self.everywhere or _covered(self.patterns, namespace)

    def __str__(self) -> str:
        if self.everywhere:
            return "all namespaces"
        names = self.names or self.patterns
        return ("namespace " if len(names) == 1 else "namespaces ") + ", ".join(names)


def namespaces_of(words: Iterable[str]) -> Namespaces:
    """Return the namespaces that somebody named, each word once and none of them empty."""
    return Namespaces(tuple(dict.fromkeys(word.strip() for word in words if word.strip(" ,"))))


@cached(4096)
def _covered(patterns: tuple[str, ...], namespace: str) -> bool:
    # Kept, since it is asked of every change of every object.
    return any(_matches(namespace, one) for one in patterns)


def _parts(pattern: str) -> list[str]:
    return [part.strip() for part in pattern.split(",") if part.strip()]


def _matches(namespace: str, pattern: str) -> bool:
    """Say whether one pattern means a namespace.

    Without parts that leave something out it means what any part means. With them, what comes
    later wins: a part may take back what an earlier one left out, but adds nothing else.
    """
    parts = _parts(pattern)
    if not any(part.startswith("!") for part in parts):
        return any(fnmatch.fnmatchcase(namespace, part) for part in parts)
    if parts[0].startswith("!"):
        parts.insert(0, "*")
    meant = first = fnmatch.fnmatchcase(namespace, parts[0])
    for part in parts[1:]:
        if part.startswith("!"):
            meant = meant and not fnmatch.fnmatchcase(namespace, part.lstrip("!"))
        else:
            meant = meant or (first and fnmatch.fnmatchcase(namespace, part))
    return meant
