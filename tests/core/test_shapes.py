"""A shape accepts the values of a field that the API server accepts."""

from __future__ import annotations

from enum import StrEnum

import pytest

from daskjob.core.errors import FieldError
from daskjob.core.fields import Reader
from daskjob.core.schema.openapi import schema_of
from daskjob.core.shapes import Choice, Integer, Many, Record, Shape, Text


class Colour(StrEnum):
    RED = "Red"
    GREEN = "Green"


def read(shape: Text | Integer | Choice[Colour], value: object) -> tuple[object, list[FieldError]]:
    """The value that a shape reads, and the mistakes that it records."""
    errors: list[FieldError] = []
    return shape.read(Reader({shape.name: value}, "spec", errors)), errors


ONLY_RED = Choice("colour", "A colour.", Colour, only=(Colour.RED,))
SHORT = Text("word", "A word.", longest=3, message="write at most 3 characters")
NEEDED = Integer("count", "A count.", required="write a number", minimum=1, maximum=5)


@pytest.mark.parametrize(
    ("shape", "value", "found"),
    [
        (ONLY_RED, "Red", Colour.RED),
        (ONLY_RED, None, None),
        (SHORT, "abc", "abc"),
        (SHORT, None, ""),
        (NEEDED, 5, 5),
    ],
)
def test_right_value_is_read(
    shape: Text | Integer | Choice[Colour], value: object, found: object
) -> None:
    assert read(shape, value) == (found, [])


@pytest.mark.parametrize(
    ("shape", "value", "allowed"),
    [
        (ONLY_RED, "Green", "write one of Red"),
        (ONLY_RED, "Blue", "write one of Red, Green"),
        (SHORT, "abcd", "write at most 3 characters"),
        (NEEDED, None, "write a number"),
        (NEEDED, 6, "write an integer from 1 to 5"),
    ],
)
def test_wrong_value_is_one_mistake(
    shape: Text | Integer | Choice[Colour], value: object, allowed: str
) -> None:
    _, errors = read(shape, value)
    assert [(error.path, error.allowed) for error in errors] == [(f"spec.{shape.name}", allowed)]


def test_fields_of_a_missing_mapping_are_not_reported_as_missing() -> None:
    errors: list[FieldError] = []
    inner = Record("inner", "A record.", (NEEDED,), required="write the inner one")
    outer = Record("outer", "A record.", (inner,), required="write the outer one")
    NEEDED.read(inner.read(outer.read(Reader({}, "", errors))))
    assert [(error.path, error.allowed) for error in errors] == [("outer", "write the outer one")]


@pytest.mark.parametrize(
    ("shape", "schema"),
    [
        (ONLY_RED, {"type": "string", "enum": ["Red"]}),
        (SHORT, {"type": "string", "maxLength": 3, "nullable": True}),
        (NEEDED, {"type": "integer", "format": "int32", "minimum": 1, "maximum": 5}),
        (
            Many("words", "Words.", SHORT, at_most=2),
            {
                "type": "array",
                "items": {
                    "description": "A word.",
                    "type": "string",
                    "maxLength": 3,
                    "nullable": True,
                },
                "maxItems": 2,
                "nullable": True,
            },
        ),
        (
            Record("inner", "A record.", (NEEDED,), open=True),
            {
                "type": "object",
                "required": ["count"],
                "properties": {
                    "count": {
                        "description": "A count.",
                        "type": "integer",
                        "format": "int32",
                        "minimum": 1,
                        "maximum": 5,
                    }
                },
                "x-kubernetes-preserve-unknown-fields": True,
                "nullable": True,
            },
        ),
    ],
    ids=lambda value: value.name if not isinstance(value, dict) else "",
)
def test_schema_has_the_same_limits(shape: Shape, schema: dict[str, object]) -> None:
    found = schema_of(shape)
    assert found.pop("description")
    assert found == schema
