"""Checks values against the chart's ``values.schema.json``.

It knows the keywords that this file uses; any other is an error, so that none is ignored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from daskjob.core.errors import FieldError, Invalid
from daskjob.submit.settings.nearest import did_you_mean

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "null": (type(None),),
}
_KNOWN = frozenset(
    {"$schema", "title", "description", "type", "properties", "additionalProperties", "required"}
    | {"items", "enum", "minLength", "maxLength", "minimum", "pattern"}
)


def check_values(values: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Check values.

    Raises
    ------
    Invalid
        With every mistake; an unknown value with the most similar name.
    """
    mistakes = list(_mistakes(dict(values), schema, ""))
    if mistakes:
        raise Invalid("the set of values", mistakes)


def _mistakes(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    if unknown := schema.keys() - _KNOWN:
        raise ValueError(f"values.schema.json: {', '.join(unknown)} at {path or 'its top'}")
    wanted = schema.get("type", [])
    types = [wanted] if isinstance(wanted, str) else wanted
    if types and not any(_has_type(value, name) for name in types):
        yield FieldError(path, _shown(value), f"write {' or '.join(map(_article, types))}")
        return
    yield from _mistakes_of_scalar(value, schema, path)
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _mistakes(item, schema["items"], f"{path}[{index}]")
    if isinstance(value, dict):
        yield from _mistakes_of_object(value, schema, path)


def _mistakes_of_object(
    value: Mapping[Any, Any], schema: Mapping[str, Any], path: str
) -> Iterator[FieldError]:
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in value:
            yield FieldError(f"{path}.{name}", None, "write it")
    for key, item in value.items():
        below = f"{path}.{key}" if path else str(key)
        if key in known:
            yield from _mistakes(item, known[key], below)
        elif others is False:
            yield FieldError(below, _shown(item), f"there is no such value; {_near(key, known)}")
        elif isinstance(others, dict):
            yield from _mistakes(item, others, below)


def _mistakes_of_scalar(value: Any, schema: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    if "enum" in schema and value not in schema["enum"]:
        yield FieldError(path, value, f"write one of {', '.join(schema['enum'])}")
    if isinstance(value, str):
        if len(value) < schema.get("minLength", 0):
            yield FieldError(path, value, "write something")
        if len(value) > schema.get("maxLength", len(value)):
            yield FieldError(path, value, f"write at most {schema['maxLength']} characters")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield FieldError(path, value, f"write what matches {schema['pattern']}")
    if _has_type(value, "integer") and value < schema.get("minimum", value):
        yield FieldError(path, value, f"write at least {schema['minimum']}")


def _has_type(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name])


def _article(name: str) -> str:
    if name == "null":
        return name
    return f"an {name}" if name[0] in "aio" else f"a {name}"


def _shown(value: Any) -> Any:
    """Return a value for a message; a missing one would be reported as such."""
    return "null" if value is None else value


def _near(name: object, known: Mapping[str, Any]) -> str:
    return did_you_mean(str(name), known)
