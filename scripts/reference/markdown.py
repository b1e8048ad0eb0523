"""Text of the code as Markdown: escaped prose, tables, comments of constants."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable, Sequence
from enum import Enum

_CODE = re.compile(r"(``.+?``|`[^`\n]+`)")
_SPECIAL = re.compile(r"([\\*_<>\[\]{}#$])")


def prose(text: str) -> str:
    """Return text with what Markdown would interpret escaped, except code in backticks."""
    parts = _CODE.split(text)
    return "".join(
        part if number % 2 else _SPECIAL.sub(r"\\\1", part) for number, part in enumerate(parts)
    )


def code(text: str) -> str:
    """Return text as code."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; empty if it has no rows."""
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    if not lines:
        return ""
    above = [" | ".join(header), "|".join("---" for _ in header)]
    return "\n".join(f"| {line} |" for line in [*above, *lines])


def comments(kind: type[Enum]) -> dict[str, str]:
    """Return the ``#:`` comment above each member of an enum, by the member's name."""
    source = inspect.getsource(kind)
    lines = source.splitlines()
    (cls,) = ast.parse(source).body
    assert isinstance(cls, ast.ClassDef)
    return {
        node.targets[0].id: _above(lines, node.lineno - 1)
        for node in cls.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def _above(lines: list[str], index: int) -> str:
    found: list[str] = []
    while index and lines[index - 1].strip().startswith("#:"):
        index -= 1
        found.insert(0, lines[index].strip().removeprefix("#:").strip())
    return " ".join(found)
