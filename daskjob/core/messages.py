"""Messages, truncated to a limit."""

from __future__ import annotations


def cut(text: str, limit: int, mark: str = "…") -> str:
    """Return at most ``limit`` characters of a text; a truncated text ends with the mark."""
    return text if len(text) <= limit else text[: limit - len(mark)] + mark
