"""Shapes as structural OpenAPI v3 schemas, for the API server.

A field that may be absent may be null too, also in server-side apply, which keeps nulls; CEL rules
count null as absent, as the readers of the specs do. Fields that are passed through unchanged have
``x-kubernetes-preserve-unknown-fields``; without it the API server drops unknown fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, assert_never

from daskjob.core.fields import INT32, INT64
from daskjob.core.manifests import Manifest
from daskjob.core.shapes import (
    Anything,
    Boolean,
    Choice,
    Integer,
    Many,
    Number,
    Record,
    Rule,
    Shape,
    Text,
    Texts,
    Time,
)


def schema_of(shape: Shape) -> Manifest:
    """Return the schema of a field."""
    schema: Manifest = {"description": shape.description, **_limits(shape)}
    if shape.name and not is_required(shape) and "enum" not in schema and "default" not in schema:
        schema["nullable"] = True
    if rules := [validation(rule) for rule in _rules(shape)]:
        schema["x-kubernetes-validations"] = rules
    return schema


def is_required(shape: Shape) -> bool:
    """Return whether the field is required."""
    match shape:
        case Text() | Integer() | Choice() | Many() | Record():
            return bool(shape.required)
        case Number() | Boolean() | Time() | Texts() | Anything():
            return False
        case _:
            assert_never(shape)


def _limits(shape: Shape) -> Manifest:
    match shape:
        case Text():
            return _text(shape)
        case Integer():
            return _integer(shape)
        case Number():
            return {"type": "number", "minimum": shape.minimum}
        case Boolean():
            return {"type": "boolean"}
        case Choice():
            return _choice(shape)
        case Time():
            return {"type": "string", "format": "date-time"}
        case Texts():
            return _texts(shape)
        case Anything():
            return {"x-kubernetes-preserve-unknown-fields": True}
        case Many():
            return _many(shape)
        case Record():
            return _record(shape)
        case _:
            assert_never(shape)


def _text(shape: Text) -> Manifest:
    schema: Manifest = {"type": "string"}
    if shape.required:
        schema["minLength"] = 1
    if shape.longest is not None:
        schema["maxLength"] = shape.longest
    return schema


def _integer(shape: Integer) -> Manifest:
    schema: Manifest = {"type": "integer", "format": "int32" if shape.maximum <= INT32 else "int64"}
    if shape.default is not None:
        schema["default"] = shape.default
    if shape.minimum > -INT64:
        schema["minimum"] = shape.minimum
    if shape.maximum < INT64:
        schema["maximum"] = shape.maximum
    return schema


def _choice(shape: Choice[Any]) -> Manifest:
    if shape.or_null:
        return {"type": "string"}
    return {"type": "string", "enum": [*shape.values, *([""] if shape.or_empty else [])]}


def _texts(shape: Texts) -> Manifest:
    schema: Manifest = {"type": "object", "additionalProperties": {"type": "string"}}
    if shape.at_most is not None:
        schema["maxProperties"] = shape.at_most
    return schema


def _many(shape: Many) -> Manifest:
    schema: Manifest = {"type": "array", "items": schema_of(shape.of)}
    if shape.required:
        schema["minItems"] = 1
    if shape.at_most is not None:
        schema["maxItems"] = shape.at_most
    if shape.key:
        schema["x-kubernetes-list-type"] = "map"
        schema["x-kubernetes-list-map-keys"] = [shape.key]
    return schema


def _record(shape: Record) -> Manifest:
    schema: Manifest = {"type": "object"}
    if required := [field.name for field in shape.fields if is_required(field)]:
        schema["required"] = required
    if shape.fields:
        schema["properties"] = properties(shape.fields)
    if shape.open:
        schema["x-kubernetes-preserve-unknown-fields"] = True
    return schema


def properties(fields: Iterable[Shape]) -> Manifest:
    """Return the schemas of fields by their names."""
    return {field.name: schema_of(field) for field in fields}


def _rules(shape: Shape) -> tuple[Rule, ...]:
    match shape:
        case Text():
            return (*_pattern(shape), *shape.rules)
        case Choice():
            return _enum(shape)
        case Texts() | Many() | Record():
            return shape.rules
        case _:
            return ()


def _pattern(shape: Text) -> tuple[Rule, ...]:
    """Return a text's pattern as a rule: unlike ``pattern``, a rule has a message."""
    if shape.pattern is None:
        return ()
    # A raw text with backslashes, since CEL knows few escapes.
    raw = "r" if "\\" in shape.pattern.pattern else ""
    return (Rule(f"self.matches({raw}'^({shape.pattern.pattern})$')", shape.message),)


def _enum(shape: Choice[Any]) -> tuple[Rule, ...]:
    if not shape.or_null:
        return ()
    return (Rule(f"self in {json.dumps(shape.values)}", "write one of " + ", ".join(shape.values)),)


def validation(rule: Rule) -> Manifest:
    """Return a rule as a CRD holds it."""
    found: Manifest = {"rule": rule.expression, "message": rule.message}
    if rule.field:
        found["fieldPath"] = rule.field
    if rule.at_creation:
        found["optionalOldSelf"] = True
    return found
