"""Finds the secret values of a manifest, which no record keeps. No I/O.

Each is replaced by a mark with the name of what is missing, so that a job that is made from the
record can be rejected until they are given again.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from typing import Any

from daskjob.core.manifests import Manifest, mapping
from daskjob.submit.records.secret_names import is_secret
from daskjob.submit.records.secret_texts import without_secrets

#: The name of a value in a command line that has none.
_ARGUMENT = "an argument"
_MARK = "<not recorded: {}>"
_MARKED = re.compile(r"<not recorded: ([^<>]*)>")
#: kubectl keeps the whole manifest in it.
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

#: Sent with a script; an assignment in them is code.
_CODE = (".py", ".pyw", ".ipynb", ".pyx")
_OPTION = re.compile(r"--?[A-Za-z][-\w.]*")


def without_secret_values(manifest: Manifest) -> Manifest:
    """Return a copy of a manifest, or a part of one, without secret values."""
    found: Manifest = copy.deepcopy(manifest)
    mapping(mapping(found.get("metadata")).get("annotations")).pop(_LAST_APPLIED, None)
    return _cleaned(found)  # type: ignore[no-any-return]


def missing_values(manifest: Manifest) -> list[tuple[str, str]]:
    """Return the path and the name of each secret value that a manifest lacks."""
    return list(_missing(manifest, ""))


def _cleaned(value: Any, key: str = "") -> Any:
    if isinstance(value, str):
        return without_secrets(value, lambda name: _MARK.format(_label(key, name)))
    if isinstance(value, list):
        if key in ("args", "command"):
            return _without_secret_options(value)
        return [_cleaned(item, key) for item in value]
    if not isinstance(value, dict):
        return value
    if key == "files":
        return {name: _cleaned_file(name, text) for name, text in value.items()}
    name, text = value.get("name"), value.get("value")
    if isinstance(name, str) and isinstance(text, str):
        return {**value, "value": _cleaned_named(name, text)}
    return {name: _cleaned(item, name) for name, item in value.items()}


def _label(key: str, name: str) -> str:
    """Return the name of a missing value: of its variable, or of what it is in the text."""
    if key == _ARGUMENT:
        return name or key
    return key or name or "a secret value"


def _cleaned_named(name: str, text: Any) -> Any:
    if isinstance(text, str) and text and is_secret(name):
        return _MARK.format(name)
    return _cleaned(text, name)


def _cleaned_file(name: str, text: Any) -> Any:
    if isinstance(text, str) and name.endswith(_CODE):
        return without_secrets(text, lambda _: _MARK.format(name), is_code=True)
    return _cleaned_named(name, text)


def _without_secret_options(words: Sequence[Any]) -> list[Any]:
    """Return a command line without the values of options such as ``--password``."""
    found: list[Any] = []
    secret_option = ""
    for word in words:
        option = _OPTION.match(word) if isinstance(word, str) else None
        if secret_option and not option:
            found.append(_MARK.format(secret_option))
            secret_option = ""
            continue
        secret_option = ""
        if option and is_secret(option[0].lstrip("-")):
            if word == option[0]:
                secret_option = word
            elif word[option.end()] == "=":
                word = f"{option[0]}={_MARK.format(option[0])}"
        elif isinstance(word, str) and "=" in word and is_secret(word.partition("=")[0]):
            name = word.partition("=")[0]
            if re.fullmatch(r"\w+", name):
                word = f"{name}={_MARK.format(name)}"
        found.append(_cleaned(word, _ARGUMENT))
    return found


def _missing(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        for match in _MARKED.finditer(value):
            yield path, match[1]
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _missing(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            step = f"[{key}]" if not re.fullmatch(r"\w+", str(key)) else f".{key}" if path else key
            yield from _missing(item, f"{path}{step}")
