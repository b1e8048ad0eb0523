"""Messages cut to a limit. No I/O here."""

from __future__ import annotations


def cut(text: str, limit: int, mark: str = "…") -> str:
    """Return a text of at most ``limit`` characters; the mark at its end shows that it was cut."""
    return text if len(text) <= limit else text[: limit - len(mark)] + mark
