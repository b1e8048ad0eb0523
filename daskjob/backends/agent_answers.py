"""The bounds on every question to a scheduler's agent, wherever the scheduler runs.

An answer comes from a user's process: it is never trusted to be short, quick, or JSON.
"""

from __future__ import annotations

TIMEOUT_SECONDS = 2.0
LIMIT_BYTES = 256 * 1024


class NoAnswer(Exception):
    """The scheduler did not answer, or not in a way that can be used."""


def check_answer(status: int, text: bytes) -> None:
    """Raise ``NoAnswer`` for an answer that is an error or too long."""
    if status != 200:
        raise NoAnswer(f"HTTP {status}")
    if len(text) > LIMIT_BYTES:
        raise NoAnswer(f"an answer of more than {LIMIT_BYTES} bytes")
