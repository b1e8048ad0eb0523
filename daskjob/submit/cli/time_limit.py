"""``--timeout``: the time limit of a whole command, from its start."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from daskjob.submit.cli.parameters import Duration

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

#: Where the end is kept in ``Context.meta``.
_META = "daskjob.ends_at"


def timeout_option(text: str) -> Callable[[Decorated], Decorated]:
    """Return the option ``--timeout``, which limits the requests of the command, too."""
    return click.option("--timeout", type=Duration(), callback=_noted, help=text)


def ends_at() -> float | None:
    """Return when the current command has to end, by the monotonic clock; ``None``: no limit."""
    context = click.get_current_context(silent=True)
    found: float | None = context.meta.get(_META) if context else None
    return found


def seconds_left() -> float | None:
    """Return the seconds until then; ``None``: no limit."""
    end = ends_at()
    return None if end is None else max(end - time.monotonic(), 0.0)


def _noted(context: click.Context, _param: click.Parameter, value: int | None) -> int | None:
    if value is not None:
        context.meta[_META] = time.monotonic() + value
    return value
