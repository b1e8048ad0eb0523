"""The option ``--timeout`` of commands that wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from daskjob.submit.cli.parameters import Duration
from daskjob.submit.cli.time_limit import limit

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def timeout_option(text: str) -> Callable[[Decorated], Decorated]:
    """Return the option, which limits the requests of the command, too."""
    return click.option("--timeout", type=Duration(), callback=_noted, help=text)


def _noted(context: click.Context, _param: click.Parameter, value: int | None) -> int | None:
    limit(context, value)
    return value
