"""The most similar known name, for messages about unknown ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what to write instead of an unknown name."""
    names = sorted(known)
    lowered = {item.lower().replace("_", "-"): item for item in names}
    near = difflib.get_close_matches(name.lower().replace("_", "-"), lowered, n=1, cutoff=0.6)
    return f"did you mean {lowered[near[0]]!r}?" if near else f"known are {', '.join(names)}"
