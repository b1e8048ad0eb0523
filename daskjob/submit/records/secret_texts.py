"""Finds secret values within a text: a command line, a URL, a JSON or YAML document. No I/O.

What looks like code or a reference is left alone: ``password=get()``, ``PASSWORD=$OTHER``. A text
that is JSON or YAML as a whole is read as such; elsewhere, a value has to follow its name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

from daskjob.submit.records.secret_names import is_secret

#: Values that are secret under any name.
_KNOWN = re.compile(
    r"(?<=://)[^/\s:@'\"]*:[^/\s@'\"]+(?=@)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|hf_|sk-)[A-Za-z0-9_-]{16,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+"
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/-]{16,}=*"
)
_QUOTED = r"\"(?:[^\"\\\n]|\\.)+\"|'(?:[^'\\\n]|\\.)+'"
#: Not the beginning of an expression: that goes on with a bracket.
_BARE = r"[^\s\"'`;&|<>()\[\]{}$,\\]+(?=[\s\"'`;&|<>\\]|$)"
#: ``NAME=value``, ``--name=value``, and parameters of a URL.
_ASSIGNED = re.compile(rf"(?<![\w.\]-])(--?)?([A-Za-z_][\w.-]*)=({_QUOTED}|{_BARE})")
#: ``--name value``.
_OPTION = re.compile(rf"(?<!\S)(--[A-Za-z][\w.-]*)[ \t]+(?!-)({_QUOTED}|{_BARE})")
#: ``"name": "value"``, also within a string of a program or of another JSON text.
_MEMBER = re.compile(
    r"""(\\?["'])([\w.-]+)\1\s*:\s*(\\?)(["'])((?:(?!\\?\4)[^\\\n]|\\[^"'\n])+)\3\4"""
)
#: A line that may be one of a YAML document.
_LINE = re.compile(r"^[ \t]*(?:-[ \t]+)*[\"']?([\w.-]+)[\"']?[ \t]*:[ \t]", re.MULTILINE)
#: A parameter of a URL that gives access to it.
_SIGNATURE = re.compile(r"(^|[-_])sig(nature)?$", re.IGNORECASE)
#: What a value with a secret name may be without being one.
_HARMLESS = re.compile(
    # A type, too: fields of a Python class look like YAML.
    r"(?:true|false|yes|no|on|off|none|null|~|\*+|str|bytes|int|bool|any)?",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"[$<%{]")
#: PyYAML reads this much in less than a second.
_LONGEST_DOCUMENT = 2**16

#: Returns what stands in the place of the value of a name.
Mark = Callable[[str], str]


def without_secrets(text: str, mark: Mark, *, is_code: bool = False) -> str:
    """Return a text without the secret values that it shows; of code, only those of known forms."""
    text = _KNOWN.sub(lambda _: mark(""), text)
    if is_code:
        return text
    document = _without_members(text, mark)
    if document is not None:
        return document
    text = _MEMBER.sub(lambda found: _member(found, mark), text)
    text = _ASSIGNED.sub(lambda found: _assigned(found, mark), text)
    return _OPTION.sub(lambda found: _option(found, mark), text)


def _is_shown(name: str, value: str) -> bool:
    """Return whether a value is secret, and not a reference to one."""
    bare = value[1:-1] if value[:1] in "\"'" and value[-1:] == value[:1] else value
    harmless = _HARMLESS.fullmatch(bare) or _REFERENCE.match(bare)
    return is_secret(name) and not harmless


def _member(found: re.Match[str], mark: Mark) -> str:
    name, value = found[2], found[5]
    if not _is_shown(name, value):
        return found[0]
    return f"{found[0][: found.start(5) - found.start()]}{mark(name)}{found[3]}{found[4]}"


def _assigned(found: re.Match[str], mark: Mark) -> str:
    option, name, value = found[1] or "", found[2], found[3]
    before = found.string[max(found.start() - 1, 0) : found.start()]
    is_signature = before in ("?", "&") and bool(_SIGNATURE.search(name))
    if not (_is_shown(name, value) or is_signature):
        return found[0]
    return f"{option}{name}={_quoted_as(value, mark(option + name))}"


def _option(found: re.Match[str], mark: Mark) -> str:
    if not _is_shown(found[1].lstrip("-"), found[2]):
        return found[0]
    kept = found[0][: found.start(2) - found.start()]
    return kept + _quoted_as(found[2], mark(found[1]))


def _quoted_as(value: str, text: str) -> str:
    quote = value[0] if value[0] in "\"'" else ""
    return f"{quote}{text}{quote}"


def _without_members(text: str, mark: Mark) -> str | None:
    """Return a JSON or YAML document without secret values; ``None``: the text is none."""
    if not 2 < len(text) <= _LONGEST_DOCUMENT or ":" not in text:
        return None
    is_flow = text.lstrip()[:1] in ("{", "[")
    if not is_flow and not any(is_secret(found[1]) for found in _LINE.finditer(text)):
        return None
    import yaml

    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if not isinstance(node, yaml.CollectionNode):
            return None
        spans = sorted(_spans(node, mark), reverse=True)
    except (yaml.YAMLError, RecursionError):
        return None
    for start, end, found in spans:
        line_end = "\n" if text[start:end].endswith("\n") else ""
        text = f"{text[:start]}{json.dumps(found)}{line_end}{text[end:]}"
    return text


def _spans(node: object, mark: Mark) -> Iterator[tuple[int, int, str]]:
    """Yield the place of each value that changes, and what stands there instead."""
    import yaml

    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _spans(item, mark)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            if not isinstance(value, yaml.ScalarNode):
                yield from _spans(value, mark)
            elif _is_shown(name, value.value):
                yield value.start_mark.index, value.end_mark.index, mark(name)
            else:
                yield from _spans(value, mark)
    elif isinstance(node, yaml.ScalarNode):
        # Such as a command line in a list.
        cleaned = _ASSIGNED.sub(lambda found: _assigned(found, mark), node.value)
        cleaned = _OPTION.sub(lambda found: _option(found, mark), cleaned)
        if cleaned != node.value:
            yield node.start_mark.index, node.end_mark.index, cleaned
