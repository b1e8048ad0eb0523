"""What is made of values that nobody changes is kept, until it is forgotten."""

from __future__ import annotations

import sys

from daskjob.core import values


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
