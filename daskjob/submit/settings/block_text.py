"""Writes settings into a script's block ``# /// script``: only the lines that change. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from daskjob.submit.inline_metadata import declared
from daskjob.submit.settings.sources import WrongSettings

#: Lines that stay first: Python, and its encoding.
_FIRST = re.compile(r"#!.*|[ \t\f]*#.*?coding[:=][ \t]*[-\w.]+.*")
_START, _END = "# /// script", "# ///"
_TABLE = "# [tool.daskjob]"
_ANY_TABLE = re.compile(r"#[ \t]*\[")


def toml(value: object) -> str:
    """Return a value as TOML writes it on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_key(str(key))} = {toml(item)}" for key, item in value.items())
        return f"{{{pairs}}}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(toml, value))}]"
    # Strings of JSON are strings of TOML, but for characters beyond 16 bits.
    return json.dumps(str(value), ensure_ascii=False)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key, re.ASCII) else toml(key)


def with_block(
    text: str,
    values: Mapping[str, object],
    *,
    dependencies: Sequence[str] = (),
    requires_python: str = "",
) -> str:
    """Return a script's text with settings in its block; a new block gets the other lines, too.

    Raises
    ------
    WrongSettings
        The block is not TOML, or has a setting in a form that this does not change.
    """
    found = declared(text)
    if found.problem:
        raise WrongSettings(found.problem)
    lines = text.splitlines(keepends=True)
    starts = [index for index, line in enumerate(lines) if line.rstrip() == _START]
    ends = [i for i, line in enumerate(lines) if starts and i > starts[0] and line.rstrip() == _END]
    if not ends:  # the first line may be one of a string
        changed = _with_new_block(lines, values, dependencies, requires_python)
    else:
        end = ends[0]
        inner = [line.rstrip("\r\n") for line in lines[starts[0] + 1 : end]]
        ending = "\r\n" if lines[starts[0]].endswith("\r\n") else "\n"
        block = [line + ending for line in _changed(inner, values)]
        changed = "".join([*lines[: starts[0] + 1], *block, *lines[end:]])
    _check(changed, values, found.settings)
    return changed


def _with_new_block(
    lines: list[str], values: Mapping[str, object], dependencies: Sequence[str], python: str
) -> str:
    head = 0
    while head < min(2, len(lines)) and _FIRST.fullmatch(lines[head].rstrip("\r\n")):
        head += 1
    block = [_START]
    if python:
        block.append(f"# requires-python = {toml(python)}")
    block += ["# dependencies = [", *(f"#     {toml(item)}," for item in dependencies), "# ]"]
    block += _changed([], values)
    block.append(_END)
    rest = lines[head:]
    ending = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    gap = [ending] if rest and rest[0].strip() else []
    return "".join([*lines[:head], *(line + ending for line in block), *gap, *rest])


def _changed(inner: list[str], values: Mapping[str, object]) -> list[str]:
    """Return the lines of a block with settings: each replaces its own line, or is added."""
    written = {key: f"# {key} = {toml(value)}" for key, value in values.items()}
    if not written:
        return inner
    if _TABLE not in [line.rstrip() for line in inner]:
        return [*inner, _TABLE, *written.values()]
    start = [line.rstrip() for line in inner].index(_TABLE) + 1
    end = next((i for i in range(start, len(inner)) if _ANY_TABLE.match(inner[i])), len(inner))
    table = []
    for line in inner[start:end]:
        key = re.match(r"#[ \t]*([\w-]+)[ \t]*=", line)
        table.append(written.pop(key[1], line) if key else line)
    while table and table[-1].strip() == "#":
        table.pop()
    return [*inner[:start], *table, *written.values(), *inner[end:]]


def _check(text: str, values: Mapping[str, object], before: object) -> None:
    """Reject a text in which the block does not say exactly what was wanted."""
    found = declared(text)
    old = before if isinstance(before, Mapping) else {}
    if found.problem or found.settings != ({**old, **values} or before):
        keys = ", ".join(values)
        raise WrongSettings(
            f"the script's [tool.daskjob] has {keys} in a form that is not changed automatically, "
            f"such as several lines; write it there: {_shown(values)}"
        )


def _shown(values: Mapping[str, object]) -> str:
    lines: Iterable[str] = (f"{key} = {toml(value)}" for key, value in values.items())
    return "; ".join(lines)
