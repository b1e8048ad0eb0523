"""The limits of every query to a scheduler's agent, on all backends.

An answer comes from a user's process: it may be long, late, or not JSON.
"""

from __future__ import annotations

import json

from daskjob.core.manifests import Manifest, is_too_deep

TIMEOUT_SECONDS = 2.0
LIMIT_BYTES = 256 * 1024


class NoAnswer(Exception):
    """The scheduler did not answer, or its answer cannot be used."""


def check_answer(status: int, text: bytes) -> None:
    """Raise ``NoAnswer`` for an answer that is an error or too long."""
    if status != 200:
        raise NoAnswer(f"HTTP {status}")
    if len(text) > LIMIT_BYTES:
        raise NoAnswer(f"the answer is longer than {LIMIT_BYTES} bytes")


def usable_report(answer: Manifest) -> Manifest | None:
    """Return a report that a status can hold; ``None`` if this one cannot be written anywhere."""
    if is_too_deep(answer):
        return None
    try:
        json.dumps(answer, ensure_ascii=False, allow_nan=False).encode()
        # An API server keeps whole numbers above 64 bits as floating-point ones, if they fit.
        json.loads(json.dumps(answer), parse_int=float)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return answer
