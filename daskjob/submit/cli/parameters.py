"""Types of options and arguments: durations, sizes, job names, KEY=VALUE."""

from __future__ import annotations

import re
from typing import Any

import click
from click.shell_completion import CompletionItem

#: Suffixes of manifest files; every other file is a script.
MANIFEST_SUFFIXES = (".yaml", ".yml", ".json")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)([smhd]?))")


class Duration(click.ParamType):  # type: ignore[type-arg]
    """A time span: ``90``, ``90s``, ``10m``, ``1h30m``."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return whole seconds, at least one."""
        if isinstance(value, int):
            return value
        text = str(value).strip().lower()
        parts = _DURATION.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            self.fail(
                f"{value!r} is not a duration; write one such as 90, 90s, 10m or 1h30m", param, ctx
            )
        seconds = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
        if seconds < 1 or seconds > 2**31 - 1:
            self.fail(f"{value!r} is not a duration of at least 1 s", param, ctx)
        return round(seconds)


class Memory(click.ParamType):  # type: ignore[type-arg]
    """A size of memory: ``512MiB``, ``4GB``, ``4Gi``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the size in bytes, as text for Dask."""
        from daskjob.core.quantity import format_bytes, parse_bytes

        try:
            size = parse_bytes(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        # A worker's own process does not fit into less: it would be killed at its start.
        smallest = 128 * 2**20
        if size < smallest:
            self.fail(
                f"{value!r} is too little; a worker needs at least {format_bytes(smallest)}",
                param,
                ctx,
            )
        return str(size)


class Assignment(click.ParamType):  # type: ignore[type-arg]
    """``KEY=VALUE``, or just ``KEY`` for its value in the current environment."""

    name = "key=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Return the key and the value."""
        import os

        if isinstance(value, tuple):
            return value[0], value[1]
        key, sign, text = str(value).partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        if sign:
            return key, text
        if key not in os.environ:
            self.fail(f"{key} is not set in this environment; write {key}=VALUE", param, ctx)
        return key, os.environ[key]


class NewName(click.ParamType):  # type: ignore[type-arg]
    """A name for a new job."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name if it is valid for a job."""
        from daskjob.core.names import NAME_RULE, is_valid_name

        if not is_valid_name(str(value)):
            self.fail(f"{value!r} is not a valid job name; write {NAME_RULE}", param, ctx)
        return str(value)


class JobName(click.ParamType):  # type: ignore[type-arg]
    """The name of a job at the chosen place."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the jobs whose names have this prefix, newest first."""
        del param
        from daskjob.submit.cli.place import jobs_of

        names = jobs_of(ctx).names()
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]
