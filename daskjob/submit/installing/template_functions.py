"""The functions of Go's templates, of Sprig and of Helm that the operator's chart calls."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from daskjob.core.errors import DaskJobError


class NotRendered(DaskJobError):
    """The chart rejects its values; the message is the chart's own."""


def text_of(value: object) -> str:
    """Return a value as templates print it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def quoted(value: object) -> str:
    """Return a value as a quoted string; ``None`` is left out, as Sprig does."""
    return "" if value is None else json.dumps(text_of(value), ensure_ascii=False)


def nindent(width: int, text: str) -> str:
    """Return the lines of a text, indented, after a line break."""
    return "\n" + "\n".join(" " * width + line for line in text.split("\n"))


def to_yaml(value: object) -> str:
    """Return a value as YAML in block style, whose lines other lines may follow."""
    import yaml

    found: str = yaml.safe_dump(value, default_flow_style=False, width=2**20, allow_unicode=True)
    return found.removesuffix("...\n").removesuffix("\n")


def from_yaml(text: str) -> Any:
    """Return the value of a YAML text."""
    import yaml

    return yaml.safe_load(text)


def printf(form: str, *values: object) -> str:
    """Format values by ``%s`` and ``%q``."""
    waiting = list(values)

    def shown(found: re.Match[str]) -> str:
        value = waiting.pop(0)
        return quoted(value) if found[0] == "%q" else text_of(value)

    return re.sub("%[sq]", shown, form)


def dig(*words: Any) -> object:
    """Return the value below some keys, else the default, which precedes the mapping."""
    *keys, default, found = words
    for key in keys:
        if not isinstance(found, Mapping) or key not in found:
            return default
        found = found[key]
    return found


def fail(message: str) -> str:
    """Reject the values."""
    raise NotRendered(message)


def _without_last(text: str, suffix: str) -> str:
    return text.removesuffix(suffix)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "append": lambda items, item: [*(items or ()), item],
    "contains": lambda part, text: part in text,
    "default": lambda default, value=None: value or default,
    "dict": lambda *words: dict(zip(words[::2], words[1::2], strict=True)),
    "dig": dig,
    "empty": lambda value: not value,
    "eq": lambda one, other: one == other,
    "fail": fail,
    "fromJsonArray": lambda text: json.loads(text),
    "fromYaml": from_yaml,
    "has": lambda item, items: item in (items or ()),
    "int": lambda value: int(value or 0),
    "int64": lambda value: int(value or 0),
    "join": lambda separator, items: separator.join(map(text_of, items or ())),
    "list": lambda *items: list(items),
    "nindent": nindent,
    "not": lambda value: not value,
    "printf": printf,
    "quote": quoted,
    "regexMatch": lambda pattern, text: re.search(pattern, text) is not None,
    "regexReplaceAll": lambda pattern, text, new: re.sub(pattern, lambda _: new, text),
    "replace": lambda old, new, text: text.replace(old, new),
    "splitList": lambda separator, text: text.split(separator),
    "ternary": lambda one, other, condition: one if condition else other,
    "toJson": lambda value: json.dumps(value, ensure_ascii=False),
    "toYaml": to_yaml,
    "trim": lambda text: text.strip(),
    "trimSuffix": lambda suffix, text: _without_last(text, suffix),
    "trunc": lambda length, text: text[:length],
    "uniq": lambda items: list(dict.fromkeys(items)),
    "without": lambda items, *others: [item for item in items or () if item not in others],
}
