"""Reading a status as the API holds it: null and nonsense count as absent. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def text(raw: Mapping[str, object], key: str) -> str:
    """Return a string; empty where there is none."""
    value = raw.get(key)
    return value if isinstance(value, str) else ""


def optional_integer(raw: Mapping[str, object], key: str) -> int | None:
    """Return an integer, or ``None`` where there is none."""
    value = raw.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def integer(raw: Mapping[str, object], key: str) -> int:
    """Return an integer; 0 where there is none."""
    return optional_integer(raw, key) or 0


def mappings(raw: Mapping[str, object], key: str) -> Sequence[Mapping[str, object]]:
    """Return the mappings of a list; empty where there is none."""
    value = raw.get(key)
    return [v for v in value if isinstance(v, Mapping)] if isinstance(value, list) else []
