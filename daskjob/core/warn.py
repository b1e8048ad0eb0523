"""Warnings that point at the line of the user's own code, however deep they arise."""

from __future__ import annotations

import sys
import warnings

_OURS = ("daskjob", "distributed", "tornado", "asyncio", "concurrent", "threading")


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the innermost line that is neither of daskjob nor of what it calls."""
    depth, frame = 1, sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, category, stacklevel=depth + 1)


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in _OURS
