"""Reader, writer and schema are derived from the rows of a dataclass."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import pytest

from daskjob.core.fields import Reader
from daskjob.core.rows import nested, nested_list, required, row, shapes_of
from daskjob.core.shapes import Boolean, Choice, Integer, Record, Text, count, names_of
from daskjob.core.spec.fields import followed_fields, read_fields, written_fields
from daskjob.core.status.part import StatusPart


class Colour(StrEnum):
    RED = "Red"


LIMITS = Record("limits", "Limits.")


@dataclass(frozen=True, slots=True)
class Settings:
    """Fields of a spec, two of them in a nested mapping."""

    colour: Colour = row(Choice("colour", "A colour.", Colour), Colour.RED)
    most: int = row(Integer("most", "The most."), 3, within=LIMITS)
    fewest: int | None = row(Integer("fewest", "The fewest."), within=LIMITS)
    seconds: int | None = row(Integer("seconds", "A time.", minimum=1), followed=True)


@dataclass(frozen=True, slots=True)
class Part(StatusPart):
    """A mapping of a status."""

    number: int = field(metadata=required(count("number", "A number."), 0, always=True))
    word: str = row(Text("word", "A word."), "")


@dataclass(frozen=True, slots=True)
class Status(StatusPart):
    """A status with a mapping and a list."""

    part: Part | None = nested("part", "A part.", Part)
    parts: tuple[Part, ...] = nested_list("parts", "Parts.", Part, "A part.")


def test_fields_of_one_mapping_are_one_shape() -> None:
    shapes = shapes_of(Settings)
    assert names_of(shapes) == ("colour", "limits", "seconds")
    assert isinstance(shapes[1], Record)
    assert shapes[1].names == ("most", "fewest")


def test_spec_is_read_and_written_by_its_rows() -> None:
    spec = {"limits": {"most": 5, "fewest": 2}, "seconds": 7}
    found = Settings(**read_fields(Settings, Reader(spec, "spec", [])))
    assert found == Settings(most=5, fewest=2, seconds=7)
    assert written_fields(found) == {"colour": "Red", **spec}


def test_absent_or_wrong_field_of_a_spec_takes_the_callers_default_before_its_own() -> None:
    reader = Reader({"limits": {"most": "many"}}, "spec", [])
    found = Settings(**read_fields(Settings, reader, most=9))
    assert (found.most, found.fewest, found.colour) == (9, None, Colour.RED)
    assert [error.path for error in reader.errors] == ["spec.limits.most"]


def test_only_valid_followed_fields_are_followed() -> None:
    assert followed_fields(Settings, {"seconds": 7, "colour": "Red"}) == {"seconds": 7}
    assert followed_fields(Settings, {"seconds": 0}) == {}


def test_status_is_read_and_written_by_its_rows() -> None:
    status = Status(Part(0), (Part(1, "one"),))
    manifest = {"part": {"number": 0}, "parts": [{"number": 1, "word": "one"}]}
    assert status.to_manifest() == manifest
    assert Status.from_manifest(manifest) == status
    assert Status.from_manifest({"part": 3, "parts": [None, {"number": "1"}]}) == Status(
        None, (Part(0),)
    )


def test_shape_that_no_status_can_hold_is_an_error_of_the_code() -> None:
    @dataclass(frozen=True, slots=True)
    class Odd(StatusPart):
        flag: bool | None = row(Boolean("flag", "A flag."))

    with pytest.raises(TypeError, match="no status holds a Boolean: flag"):
        Odd.from_manifest({})
