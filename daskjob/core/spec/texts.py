"""Lists of texts, such as the lines of requirements or the folders of code."""

from __future__ import annotations

from collections.abc import Iterator

from daskjob.core.fields import Reader
from daskjob.core.shapes import Many, Rule, Text


def list_of(
    name: str, description: str, item: Text, *, at_most: int, rules: tuple[Rule, ...] = ()
) -> Many:
    """Return the shape of a list of texts; the rules are about the whole list."""
    return Many(name, description, item, at_most=at_most, rules=rules)


def read_texts(shape: Many, reader: Reader, item: Text) -> tuple[str, ...]:
    """Return the texts of a list; records every one that its shape does not allow."""
    return tuple(text for _, text in read_numbered(shape, reader, item))


def read_numbered(shape: Many, reader: Reader, item: Text) -> Iterator[tuple[str, str]]:
    """Yield the texts of a list, each with its path below the reader: ``paths[0]``."""
    found = reader.fields.get(shape.name)
    if found is None:
        return
    if not isinstance(found, list):
        reader.mistake(shape.name, found, "write a list of strings")
        return
    if shape.at_most is not None and len(found) > shape.at_most:
        reader.mistake(shape.name, f"{len(found)} items", f"write at most {shape.at_most}")
        return
    for index, value in enumerate(found):
        key = f"{shape.name}[{index}]"
        if not isinstance(value, str):
            reader.mistake(key, value, "write a string (quote it)")
        elif not item.allows(value):
            reader.mistake(key, value[:100], item.message)
        else:
            yield key, value
