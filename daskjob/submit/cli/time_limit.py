"""The time limit of a whole command, from its start."""

from __future__ import annotations

import time

import click

#: Where the end is kept in ``Context.meta``.
_META = "daskjob.ends_at"


def limit(context: click.Context, seconds: int | None) -> None:
    """Set the time limit of a command, which starts now; ``None``: it has none."""
    if seconds is not None:
        context.meta[_META] = time.monotonic() + seconds


def ends_at() -> float | None:
    """Return when the current command has to end, by the monotonic clock; ``None``: no limit."""
    context = click.get_current_context(silent=True)
    found: float | None = context.meta.get(_META) if context else None
    return found


def seconds_left() -> float | None:
    """Return the seconds until then; ``None``: no limit."""
    end = ends_at()
    return None if end is None else max(end - time.monotonic(), 0.0)
