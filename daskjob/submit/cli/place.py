"""The place whose jobs a command handles; the commands themselves use only ``Jobs``.

``click`` passes ``Context.obj`` from the group to its commands, and to completion.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import click

if TYPE_CHECKING:
    from daskjob.submit.jobs import Jobs

P = ParamSpec("P")
R = TypeVar("R")


def jobs_of(context: click.Context) -> Jobs:
    """Return the jobs of the chosen place, by default this machine."""
    if context.obj is None:
        from daskjob.submit.local import LocalJobs

        context.obj = LocalJobs()
    jobs: Jobs = context.obj
    return jobs


def pass_jobs(command: Callable[Concatenate[Jobs, P], R]) -> Callable[P, R]:
    """Call a command with the jobs of the chosen place before its own arguments."""

    @functools.wraps(command)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        return command(jobs_of(click.get_current_context()), *args, **kwargs)

    return called
