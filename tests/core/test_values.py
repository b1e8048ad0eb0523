"""What is made of values that nobody changes is kept, until it is forgotten."""

from __future__ import annotations

import sys

from daskjob.core import values
from daskjob.core.manifests import parse_time


def test_what_was_made_of_a_value_is_made_anew_once_it_is_forgotten() -> None:
    made: list[int] = []

    @values.kept
    def length(given: list[int]) -> int:
        made.append(len(given))
        return len(given)

    value = [1, 2]
    assert (length(value), length(value), made) == (2, 2, [2])
    before = sys.getrefcount(value)
    values.forget()
    assert sys.getrefcount(value) == before - 1
    assert (length(value), made) == (2, [2, 2])


def test_what_was_made_of_equal_values_is_made_anew_once_it_is_forgotten() -> None:
    made: list[str] = []

    @values.kept_by_value(8)
    def length(given: str) -> int:
        made.append(given)
        return len(given)

    word = "word" * 2
    assert (length(word), length("wordword"), len(made)) == (8, 8, 1)
    values.forget()
    assert (length(word), len(made)) == (8, 2)


def test_of_moments_that_were_read_none_is_held_once_they_are_forgotten() -> None:
    # One of them is enough to keep a mebibyte of memory from going back to the machine.
    text = "2026-01-01T00:00:01Z"
    first = parse_time(text)
    assert parse_time(text) is first
    values.forget()
    assert parse_time(text) is not first
