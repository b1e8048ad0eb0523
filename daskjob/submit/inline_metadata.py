"""What a script declares in a comment (PEP 723): its dependencies, and settings of its job."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?m)^# /// script[ \t]*\r?\n(?P<content>(?:^#(?:| .*)\r?\n)+?)^# ///[ \t]*\r?$"
)
_START = re.compile(r"(?m)^# /// script[ \t]*\r?$")
_NAME = re.compile(r"\s*([A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)")
_MARKER = re.compile(r";.*")
#: All keys of a block.
KEYS = ("dependencies", "requires-python", "tool")
#: ``depends`` and ``dependancies`` resemble a key, ``description`` and ``version`` do not.
_SIMILAR = 0.7
#: As uv does: without it, the packages would be missing, and nothing would say why.
_UNCLOSED = (
    "its block '# /// script' has no end: each line of it begins with '#', and the last one is "
    "'# ///'"
)


@dataclass(frozen=True, slots=True)
class ScriptText:
    """A script by its text."""

    text: str
    #: What messages call it.
    subject: str
    #: Where its project is looked for.
    folder: Path


@dataclass(frozen=True, slots=True)
class Declared:
    """What a script declares."""

    #: Requirements as written, by the name of their distribution.
    dependencies: dict[str, str]
    requires_python: str = ""
    #: ``[tool.daskjob]`` of the block, as TOML has it.
    settings: object = None
    #: Why the block cannot be read; empty if it can.
    problem: str = ""
    #: All requirements as written, also those with markers.
    requirements: tuple[str, ...] = ()
    #: ``[tool.uv]`` of the block, as TOML has it.
    uv: object = None


def declared(script: str) -> Declared:
    """Return what a script's text declares; nothing if it has no block."""
    blocks = _BLOCK.findall(script)
    if not blocks:
        return Declared({}, problem=_UNCLOSED if _begins_a_block(script) else "")
    if len(blocks) > 1:
        return Declared({}, problem="there are several blocks '# /// script'")
    import tomllib

    text = "".join(
        line[2:] if line[1:2] == " " else line[1:] for line in blocks[0].splitlines(True)
    )
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return Declared({}, problem=f"its block '# /// script' is not TOML: {error}")
    if misspelt := _misspelt(found):
        return Declared({}, problem=misspelt)
    listed = found.get("dependencies", [])
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
        return Declared({}, problem="dependencies is not a list of strings")
    names = {
        match.group(1): item.strip()
        for item in listed
        if (match := _NAME.match(item)) and not _MARKER.search(item)
    }
    tools = found.get("tool")
    table = tools if isinstance(tools, dict) else {}
    return Declared(
        names,
        str(found.get("requires-python", "")),
        table.get("daskjob"),
        requirements=tuple(listed),
        uv=table.get("uv"),
    )


def _misspelt(found: Mapping[str, object]) -> str:
    """Return what is wrong about a key that resembles a known one; empty if there is none.

    Other tools ignore unknown keys: the packages would be missing, and nothing would say why.
    """
    for key in found:
        near = difflib.get_close_matches(_dashed(key), KEYS, n=1, cutoff=_SIMILAR)
        if near and key not in KEYS:
            return f"its block '# /// script' has the key {key!r}; did you mean {near[0]!r}?"
    return ""


def _dashed(key: str) -> str:
    return key.lower().replace("_", "-")


def _begins_a_block(script: str) -> bool:
    """Return whether a comment begins a block; in a string, the same line is text."""
    if not _START.search(script):
        return False
    import io
    import tokenize

    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(script).readline))
    except (tokenize.TokenError, SyntaxError):
        return False  # Python says what is wrong
    return any(t.type == tokenize.COMMENT and _START.fullmatch(t.line.rstrip("\n")) for t in tokens)
