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

_MARK = "<not recorded: {}>"
_MARKED = re.compile(r"<not recorded: ([^<>]*)>")
#: kubectl keeps the whole manifest in it.
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

#: Names of variables, options and files.
_SECRET_NAME = re.compile(
    r"passw|passphrase|secret|credential|(api|access|private|account|auth|encryption)[-_]?key"
    r"|(^|[-_.])(token|pass|pwd|pat|auth)([-_.]|$)|token$|(^|/)\.env([-_.]|$)|_rsa$|\.pem$",
    re.IGNORECASE,
)
#: Names of what is not itself secret: a path, the name of a Secret, the working directory.
_HARMLESS_NAME = re.compile(r"^(OLD)?PWD$|[-_](file|path|dir|name)$", re.IGNORECASE)
#: Values that are secret under any name.
_SECRET_VALUE = re.compile(
    r"(?<=://)[^/\s:@'\"]*:[^/\s@'\"]+(?=@)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)"
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|hf_|sk-)[A-Za-z0-9_-]{16,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+"
    r"|(?<=[Bb]earer )[A-Za-z0-9._~+/-]{16,}=*"
)
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
        return _SECRET_VALUE.sub(_MARK.format(key or "a secret value"), value)
    if isinstance(value, list):
        if key in ("args", "command"):
            return _without_secret_options(value)
        return [_cleaned(item, key) for item in value]
    if not isinstance(value, dict):
        return value
    if key == "files":
        return {name: _cleaned_named(name, text) for name, text in value.items()}
    name, text = value.get("name"), value.get("value")
    if isinstance(name, str) and isinstance(text, str):
        return {**value, "value": _cleaned_named(name, text)}
    return {name: _cleaned(item, name) for name, item in value.items()}


def _cleaned_named(name: str, text: Any) -> Any:
    if isinstance(text, str) and text and is_secret(name):
        return _MARK.format(name)
    return _cleaned(text, name)


def is_secret(name: str) -> bool:
    """Return whether the value of a variable, an option or a file of this name is secret."""
    return bool(_SECRET_NAME.search(name)) and not _HARMLESS_NAME.search(name)


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
        found.append(_cleaned(word, "an argument"))
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
