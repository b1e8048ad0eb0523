"""The text with which a script called ``sys.exit("no input")``.

Such a text is the last line of its output, like any print before ``sys.exit(1)``. The script's own
code shows which it is. Only for the machine of its user: parsing hostile code may end the parser.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

#: Names of variables that hold a message, not a code.
_MESSAGES = re.compile(r"(?i)(^|_)(msg|message|text|usage|reason|err|error|e|exc|exception)$")
_ANY = r"[^\n]+"
_PERCENT = re.compile(r"%(?:\([^)]*\))?[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]")
_BRACES = re.compile(r"\{[^{}]*\}")
#: A longer script is not parsed.
_LONGEST_BYTES = 1024 * 1024
#: The number of lines that exit handlers may print below the text.
_LINES_AT_EXIT = 20
#: The least of its own characters by which a text is known above such lines.
_LEAST_LETTERS = 4


def exit_text(source: bytes | str, output: str) -> str:
    """Return the text at the end of an output with which the script called ``sys.exit``."""
    if len(source) > _LONGEST_BYTES:
        return ""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    output = output.rstrip().replace("\r\n", "\n")
    patterns = set(_patterns(tree))
    if "" in patterns:
        # It also ends with codes, so not any last line is the text.
        patterns -= {"", _ANY}
    for pattern in sorted(patterns):
        found = re.search(rf"(?:^|\n)({pattern})\Z", output)
        if found:
            return found[1]
    return _text_above(output, patterns)


def _text_above(output: str, patterns: set[str]) -> str:
    """Return the text above a few lines that exit handlers have printed."""
    last = "\n".join(output.split("\n")[-_LINES_AT_EXIT:])
    known = [p for p in patterns if len(re.findall(r"\w", p.replace(_ANY, ""))) >= _LEAST_LETTERS]
    found = [match for p in known for match in re.finditer(rf"(?m)^({p})$", last)]
    return max(found, key=lambda match: match.start())[1] if found else ""


def _patterns(tree: ast.Module) -> Iterator[str]:
    """Yield a pattern for each text that the script may end with."""
    for node in ast.walk(tree):
        call = node.exc if isinstance(node, ast.Raise) else node
        if isinstance(call, ast.Call) and call.args and _ends(call.func):
            yield _pattern(call.args[0])


def _ends(function: ast.expr) -> bool:
    match function:
        case ast.Attribute(value=ast.Name(id="sys"), attr="exit"):
            return True
        case ast.Name(id="exit" | "quit" | "SystemExit"):
            return True
    return False


def _pattern(node: ast.expr) -> str:
    """Return a pattern of the text; empty for a code, or for what may be one."""
    match node:
        case ast.Constant(value=str(text)):
            return re.escape(text.strip())
        case ast.JoinedStr(values=parts):
            return "".join(
                re.escape(str(part.value)) if isinstance(part, ast.Constant) else _ANY
                for part in parts
            )
        case ast.BinOp(left=ast.Constant(value=str(text)), op=ast.Mod()):
            return _filled(_PERCENT, text)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            before, after = _pattern(left), _pattern(right)
            return (before or _ANY) + (after or _ANY) if before or after else ""
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(text)), attr="format")):
            return _filled(_BRACES, text)
        case ast.Call(func=ast.Name(id="str" | "repr")):
            return _ANY
        case ast.Name(id=name) | ast.Attribute(attr=name) if _MESSAGES.search(name):
            return _ANY
    return ""


def _filled(placeholder: re.Pattern[str], text: str) -> str:
    return _ANY.join(re.escape(part) for part in placeholder.split(text))
