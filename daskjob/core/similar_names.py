"""The most similar known name, for messages about unknown ones."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question behind an unknown name; empty if no known one is similar to it."""
    # Slow to import, and only a mistake needs it.
    import difflib

    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""
