"""The values of an installation: of files and of ``--set``, over the chart's own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from daskjob.core.errors import DaskJobError
from daskjob.submit.installing.chart import default_values, load_yaml, values_schema

Values = dict[str, Any]

#: A comma that separates assignments, not one in braces or brackets; ``\,`` is part of a value.
_STEP = re.compile(r"(?P<name>(?:\\.|[^.\[\\])+)(?P<indices>(?:\[\d+\])*)(?:\.|$)")


class WrongValues(DaskJobError):
    """Values cannot be read, or are not those of the chart."""


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Values:
    """Return values merged over others as Helm does it; ``None`` removes a value."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(below, dict):
            result[key] = merged(below, value)
        else:
            result[key] = value
    return result


def layered(base: Mapping[str, Any], over: Mapping[str, Any]) -> Values:
    """Merge like ``merged``, but keep ``None``: it is to remove a value of the chart."""
    both = {
        key: layered(base[key], value)
        for key, value in over.items()
        if isinstance(value, dict) and isinstance(base.get(key), dict)
    }
    return {**base, **over, **both}


def user_values(files: Sequence[Path], assignments: Sequence[str]) -> Values:
    """Return the values of files, then of ``a.b=c``, each over those before it.

    Raises
    ------
    WrongValues
        A file cannot be read, or an assignment is malformed.
    """
    result: Values = {}
    for file in files:
        result = layered(result, _of_file(file))
    for text in assignments:
        for assignment in _separated(text):
            _assign(result, assignment)
    return result


def all_values(users: Mapping[str, Any]) -> Values:
    """Return the user's values over the chart's own."""
    return merged(default_values(), users)


def _of_file(file: Path) -> Values:
    import sys

    import yaml

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text("utf-8-sig")
        found = list(load_yaml(text))
    except OSError as error:
        raise WrongValues(f"{file} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WrongValues(f"{file} is not valid YAML: {error}") from error
    if len(found) > 1 or not all(isinstance(item, dict) for item in found):
        raise WrongValues(f"{file}: write one mapping of values, such as 'replicas: 2'")
    return found[0] if found else {}


def _separated(text: str) -> list[str]:
    """Return the assignments in ``a=1,b={x,y}``."""
    parts, part, depth, escaped = [], "", 0, False
    for character in text:
        depth += (character in "{[") - (character in "}]")
        if character == "," and not depth and not escaped:
            parts.append(part)
            part = ""
        else:
            part += character
        escaped = character == "\\" and not escaped
    return [*parts, part]


def _assign(values: Values, text: str) -> None:
    path, sign, given = text.partition("=")
    steps = _steps(path)
    if not sign or not steps:
        raise WrongValues(f"--set {text}: write NAME=VALUE, such as image.tag=1.2")
    value = _typed(given, _type_at(steps))
    place: Any = values
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if isinstance(step, int):
            if not isinstance(place, list) or step > len(place):
                raise WrongValues(f"--set {text}: set [0] first, then [1]; or write {{a,b}}")
            if step == len(place):
                place.append(None)
        elif not isinstance(place, dict):
            raise WrongValues(f"--set {text}: {step!r} is below a value that is no mapping")
        if following is None:
            place[step] = value
            return
        below = place[step] if isinstance(step, int) else place.get(step)
        if not isinstance(below, list if isinstance(following, int) else dict):
            place[step] = [] if isinstance(following, int) else {}
        place = place[step]


def _steps(path: str) -> list[str | int]:
    """Return keys and indices: ``a.b[0]``; an escaped dot is part of a key."""
    steps: list[str | int] = []
    at = 0
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            return []
        steps.append(re.sub(r"\\(.)", r"\1", found["name"]).strip())
        steps += map(int, re.findall(r"\d+", found["indices"]))
        at = found.end()
    return steps


def _type_at(steps: Sequence[str | int]) -> str:
    """Return the type of a value in the schema: an image's tag 1.10 is a string."""
    schema = values_schema()
    for step in steps:
        if isinstance(step, int):
            below = schema.get("items")
        else:
            below = schema.get("properties", {}).get(step) or schema.get("additionalProperties")
        schema = below if isinstance(below, dict) else {}
    found = schema.get("type", "")
    return found if isinstance(found, str) else next(one for one in found if one != "null")


def _typed(text: str, wanted: str) -> Any:
    import json

    if text == "null":
        return None
    if text.startswith("{") and text.endswith("}") and wanted != "object":
        inner = text[1:-1]
        return [_typed(part.strip(), "string") for part in _separated(inner)] if inner else []
    text = re.sub(r"\\(.)", r"\1", text) if not text.startswith(("{", "[")) else text
    if wanted == "string":
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
