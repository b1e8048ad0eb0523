"""Reads YAML without surprises, by libyaml where PyYAML has it.

libyaml is ten times as fast. Its messages are shorter than PyYAML's own, which name the character
or the alias that is wrong: so a text that libyaml rejects is read again by PyYAML, unless it is
large.
"""

from __future__ import annotations

import gc
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

#: PyYAML reads this many characters in some seconds.
LARGE = 2**19
_MERGE = "tag:yaml.org,2002:merge"


def load_all(text: str, name: str) -> list[object]:
    """Return the documents of a text that are not empty; messages name the file ``name``.

    Raises
    ------
    yaml.YAMLError
        It is no YAML, or a mapping has a key twice.
    """
    with _without_collections():
        try:
            return _loaded(_LibraryLoader, text, name)
        except yaml.YAMLError:
            if _LibraryLoader is _PythonLoader or len(text) > LARGE:
                raise
        return _loaded(_PythonLoader, text, name)


def _loaded(loader: Any, text: str, name: str) -> list[object]:
    stream = io.StringIO(text)
    stream.name = name
    opened = loader(stream)
    try:
        found = []
        while opened.check_data():
            found.append(opened.get_data())
        return [document for document in found if document is not None]
    finally:
        opened.dispose()


@contextmanager
def _without_collections() -> Iterator[None]:
    """Let no garbage be collected: the many new objects would be walked again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[object, object]:
    """Return a mapping; a duplicate key is an error, where PyYAML would silently use the last."""
    found: dict[object, object] = {}
    for key_node, value_node in node.value:
        if key_node.tag == _MERGE:
            return _odd_mapping(loader, node)
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            return _odd_mapping(loader, node)
        if key in found:
            raise _duplicate(key, key_node)
        found[key] = loader.construct_object(value_node, deep=True)
    return found


def _odd_mapping(loader: Any, node: yaml.MappingNode) -> dict[object, object]:
    """Return a mapping with merged ones, or with keys that are no text."""
    seen: set[str] = set()
    for key_node, _ in node.value:
        if key_node.tag == _MERGE:
            continue
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, str) and key in seen:
            raise _duplicate(key, key_node)
        seen.add(str(key))
    loader.flatten_mapping(node)
    found: dict[object, object] = loader.construct_mapping(node, deep=True)
    return found


def _duplicate(key: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(
        None, None, f"the key {key!r} appears twice", node.start_mark
    )


class _PythonLoader(yaml.SafeLoader):
    """PyYAML's own."""


_PythonLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)

_LibraryLoader: Any = _PythonLoader
if yaml.__with_libyaml__:

    class _LibyamlLoader(yaml.CSafeLoader):
        """libyaml."""

    _LibyamlLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
    _LibraryLoader = _LibyamlLoader
