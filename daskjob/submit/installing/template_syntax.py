"""Parses the part of Go's template language that the operator's chart uses.

The chart is the only input, so everything else is an error: ``tests/installing`` renders the chart
with Helm too, and compares.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_ACTION = re.compile(r'\{\{(?P<code>(?:"(?:\\.|[^"\\])*"|/\*.*?\*/|[^"])*?)\}\}', re.DOTALL)
_COMMENT = re.compile(r"\s*/\*.*\*/\s*", re.DOTALL)
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:\\.|[^"\\])*")
      | (?P<number>-?\d+(?![\w.]))
      | (?P<set>:?=)
      | (?P<mark>[()|])
      | (?P<path>\$?\w*(?:\.\w+)+|\$\w*|\.)
      | (?P<word>[A-Za-z_]\w*)
    )""",
    re.VERBOSE,
)


class Unsupported(ValueError):
    """A template uses what this module does not know."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, a number or a boolean."""

    value: object


@dataclass(frozen=True, slots=True)
class Path:
    """``.a.b`` of the dot, ``$x.a.b`` of a variable; ``$`` alone is the variable of no name."""

    variable: str | None
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Function:
    """A function, by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands; the result of each is the last argument of the next."""

    commands: tuple[tuple[Operand, ...], ...]


Operand = Literal | Path | Function | Pipeline


@dataclass(frozen=True, slots=True)
class Text:
    """Text outside of actions."""

    text: str


@dataclass(frozen=True, slots=True)
class Output:
    """``{{ pipeline }}``."""

    pipeline: Pipeline


@dataclass(frozen=True, slots=True)
class Assignment:
    """``{{ $x := pipeline }}``, or ``=`` for a variable that exists."""

    variable: str
    pipeline: Pipeline
    declares: bool


@dataclass(slots=True)
class Block:
    """``if``, ``with``, ``range`` or ``define``, with what is between it and its ``end``."""

    keyword: str
    #: Of all but ``define``.
    pipeline: Pipeline | None = None
    #: Of ``define``.
    name: str = ""
    body: list[Node] = field(default_factory=list)
    otherwise: list[Node] = field(default_factory=list)


Node = Text | Output | Assignment | Block


def parse(source: str) -> list[Node]:
    """Return the nodes of a template.

    Raises
    ------
    Unsupported
        The template is malformed, or uses another part of the language.
    """
    top: list[Node] = []
    #: Where nodes go, and how many blocks an ``end`` closes: ``else if`` opens one without its own.
    open_blocks: list[tuple[list[Node], Block | None, int]] = [(top, None, 0)]
    for piece in _pieces(source):
        nodes, block, closes = open_blocks[-1]
        if isinstance(piece, Text):
            nodes.append(piece)
            continue
        keyword, _, rest = piece.strip().partition(" ")
        match keyword:
            case "if" | "with" | "range":
                made = Block(keyword, _pipeline(rest))
            case "define":
                made = Block(keyword, name=json.loads(rest.strip().rstrip("-").strip()))
            case "else" if block is not None:
                open_blocks[-1] = (block.otherwise, block, closes)
                if rest.strip():
                    nested = Block("if", _pipeline(rest.strip().removeprefix("if ")))
                    block.otherwise.append(nested)
                    open_blocks.append((nested.body, nested, closes + 1))
                continue
            case "end" if block is not None:
                del open_blocks[-1 - closes :]
                continue
            case _:
                nodes.append(_statement(piece))
                continue
        nodes.append(made)
        open_blocks.append((made.body, made, 0))
    if len(open_blocks) != 1:
        raise Unsupported("a block has no end")
    return top


def _pieces(source: str) -> Iterator[Text | str]:
    """Yield the text, trimmed as the actions beside it ask for, and the code of the actions."""
    at, trims = 0, False
    for action in _ACTION.finditer(source):
        code = action["code"]
        text = source[at : action.start()]
        text = text.lstrip() if trims else text
        if re.match(r"-\s", code):
            code, text = code[1:], text.rstrip()
        trims = bool(re.search(r"\s-$", code))
        code = code[:-1] if trims else code
        if text:
            yield Text(text)
        if not _COMMENT.fullmatch(code):
            yield code
        at = action.end()
    rest = source[at:]
    yield Text(rest.lstrip() if trims else rest)


def _statement(code: str) -> Output | Assignment:
    found = re.match(r"\s*\$(\w+)\s*(:?=)(.*)", code, re.DOTALL)
    if found:
        return Assignment(found[1], _pipeline(found[3]), declares=found[2] == ":=")
    return Output(_pipeline(code))


def _pipeline(code: str) -> Pipeline:
    tokens = list(_tokens(code))
    found = _read_pipeline(tokens)
    if tokens:
        raise Unsupported(f"{code.strip()}: unexpected {tokens[0][1]}")
    return found


def _tokens(code: str) -> Iterator[tuple[str, str]]:
    at, code = 0, code.strip()
    while at < len(code):
        found = _TOKEN.match(code, at)
        if found is None or found.lastgroup in (None, "set"):
            raise Unsupported(f"cannot read {code[at:]!r} in {code!r}")
        yield found.lastgroup, found[found.lastgroup]
        at = found.end()


def _read_pipeline(tokens: list[tuple[str, str]]) -> Pipeline:
    """Read to the end, or to a closing parenthesis, which is left."""
    commands: list[tuple[Operand, ...]] = []
    operands: list[Operand] = []
    while tokens and tokens[0][1] != ")":
        kind, text = tokens.pop(0)
        if (kind, text) == ("mark", "|"):
            commands.append(tuple(operands))
            operands = []
        elif (kind, text) == ("mark", "("):
            operands.append(_read_pipeline(tokens))
            if not tokens:
                raise Unsupported("a parenthesis is not closed")
            tokens.pop(0)
        else:
            operands.append(_operand(kind, text))
    if not all([*commands, operands]):
        raise Unsupported("a command is empty")
    return Pipeline((*commands, tuple(operands)))


def _operand(kind: str, text: str) -> Operand:
    if kind == "string":
        return Literal(json.loads(text))
    if kind == "number":
        return Literal(int(text))
    if kind == "path":
        first, *fields = text.split(".")
        variable = first[1:] if first.startswith("$") else None
        if first and variable is None:
            raise Unsupported(f"{text} is no path")
        return Path(variable, tuple(name for name in fields if name))
    if text in ("true", "false"):
        return Literal(text == "true")
    return Function(text)
