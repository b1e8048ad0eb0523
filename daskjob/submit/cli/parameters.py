"""Types of options and arguments: counts, durations, sizes, job names, KEY=VALUE.

Each message names the value and what to write instead; click adds the option.
"""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from click.shell_completion import CompletionItem

#: Suffixes of manifest files; every other file is a script.
MANIFEST_SUFFIXES = (".yaml", ".yml", ".json")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)([smhd]?))")


class Count(click.IntRange):
    """A whole number between two bounds."""

    name = "count"

    def __init__(self, least: int, most: int) -> None:
        super().__init__(least, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            allowed = f"write a whole number from {self.min} to {self.max}"
            self.fail(f"{str(value)!r} is not possible; {allowed}", param, ctx)


class Port(Count):
    """A local port; 0 is any."""

    name = "port"

    def __init__(self) -> None:
        super().__init__(0, 65535)


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
            self.fail(
                f"{value!r} is not possible; write 1 s or more, or leave the option out",
                param,
                ctx,
            )
        return round(seconds)


class Moment(click.ParamType):  # type: ignore[type-arg]
    """A moment: a time span before now, or a time as in RFC 3339."""

    name = "moment"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Return the moment; a time without a zone is one of this machine's zone."""
        if isinstance(value, datetime):
            return value
        text = str(value).strip()
        try:
            if "-" in text[1:]:
                return datetime.fromisoformat(text).astimezone(UTC)
            return datetime.now(UTC) - timedelta(seconds=Duration().convert(text, param, ctx))
        except (ValueError, OverflowError, click.BadParameter):
            allowed = "write a duration such as 90s, 10m or 1h30m, or a time: 2026-01-31T08:00:00Z"
            self.fail(f"{text!r} is no moment; {allowed}", param, ctx)


class Pattern(click.ParamType):  # type: ignore[type-arg]
    """A regular expression."""

    name = "regex"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> re.Pattern[str]:
        """Return the compiled expression."""
        if isinstance(value, re.Pattern):
            return value
        text = str(value)
        try:
            return re.compile(text)
        except (re.error, RecursionError, OverflowError) as error:
            allowed = f"for the text itself, write {shlex.quote(re.escape(text))}"
            self.fail(f"{text!r} is no regular expression: {error}; {allowed}", param, ctx)


class Memory(click.ParamType):  # type: ignore[type-arg]
    """A size of memory: ``512MiB``, ``4GB``, ``4Gi``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the size in bytes, as text for Dask."""
        from daskjob.core.quantity import format_bytes, parse_bytes

        text = str(value).strip()
        if text.lower() in ("0", "auto", "none"):
            # To Dask these mean the machine's memory, and no limit.
            allowed = "leave the option out, then the workers share the machine's memory"
            self.fail(f"{text!r} is not a size; {allowed}", param, ctx)
        try:
            size = parse_bytes(text)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        # A worker's own process does not fit into less: it would be killed at its start.
        smallest = 128 * 2**20
        if size < smallest:
            unit = f"; did you mean {text}GiB?" if text.isdigit() else ""
            needs = f"a worker needs at least {format_bytes(smallest)}"
            self.fail(f"{text!r} is {format_bytes(size)}, and {needs}{unit}", param, ctx)
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
            # Without the value, which may be a secret.
            allowed = "write KEY=VALUE, with a KEY of letters, digits and '_' such as MY_KEY"
            self.fail(f"{key!r} is not the name of a variable; {allowed}", param, ctx)
        if sign:
            return key, text
        if key not in os.environ:
            self.fail(f"{key} is not set in this environment; write {key}=VALUE", param, ctx)
        return key, os.environ[key]


class FieldValue(click.ParamType):  # type: ignore[type-arg]
    """``PATH=VALUE``, for a field of an object."""

    name = "path=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Return the path and the value."""
        if isinstance(value, tuple):
            return value[0], value[1]
        path, sign, text = str(value).partition("=")
        if not sign or not path:
            self.fail(f"{value!r}: write PATH=VALUE, such as spec.stallAction=Fail", param, ctx)
        return path, text


class NewName(click.ParamType):  # type: ignore[type-arg]
    """A name for a new job."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name if it is valid for a job."""
        from daskjob.core.names import NAME_RULE, generated_prefix, is_valid_name

        if not is_valid_name(str(value)):
            near = generated_prefix(str(value)).rstrip("-")
            hint = f"; did you mean {near!r}?" if str(value) and near != "job" else ""
            self.fail(f"{value!r} is not a valid job name; write {NAME_RULE}{hint}", param, ctx)
        return str(value)


class JobName(click.ParamType):  # type: ignore[type-arg]
    """The name of a job at the chosen place, also as ``-o name`` prints it: ``daskjob/NAME``."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name alone."""
        del param, ctx
        return str(value).removeprefix("daskjob/")

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the jobs whose names have this prefix, newest first."""
        del param
        from daskjob.core.errors import DaskJobError
        from daskjob.submit.cli.place import jobs_of

        try:
            names = jobs_of(ctx).names()
        except DaskJobError:
            # A cluster that cannot be used: there is no place for a message in a completion.
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]
