"""Checks the parts of a manifest that are Kubernetes' own, as strictly as its API server.

Only for users' files: an object of a cluster may come from a newer Kubernetes than this table.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from daskjob.core.caching import cached
from daskjob.core.errors import FieldError
from daskjob.core.manifests import Manifest, mappings
from daskjob.core.quantity import is_quantity, similar_quantity
from daskjob.core.spec import kubernetes_fields
from daskjob.core.spec.pod_rules import pod_mistakes

#: Programs that begin most commands of Dask jobs; with a path before them they stay recognizable.
_PROGRAM = re.compile(r"(?:.*/)?(?:python[\d.]*|dask|bash|sh|uv|conda|dask-worker|dask-scheduler)")

#: Words that are text in YAML without quotes, but for these.
_PLAIN = re.compile(r"-{0,2}[A-Za-z./_][\w./=-]*")
_NO_TEXT = ("y", "n", "yes", "no", "on", "off", "true", "false", "null")


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a type of Kubernetes."""

    type: str
    required: bool


@dataclass(frozen=True, slots=True)
class Unknown(FieldError):
    """A field that Kubernetes does not have: it is dropped, or rejected by strict validation."""

    def __str__(self) -> str:
        """Return the message of a mistake."""
        return FieldError.__str__(self)


def object_mistakes(kind: str, value: object, path: str = "") -> list[FieldError]:
    """Return what Kubernetes rejects in a value of one of its types, such as ``PodSpec``."""
    return list(_mistakes(kind, value, path))


def template_mistakes(manifest: Manifest) -> list[FieldError]:
    """Return what Kubernetes rejects in the pods and Services of an object of our kinds.

    The CustomResourceDefinitions accept any PodSpec, so a mistake would show up only when a pod
    cannot be created, or runs without the misspelt field.
    """
    found: list[FieldError] = []
    for path, kind, value in templates(manifest):
        found += object_mistakes(kind, value, path)
        if kind != "PodSpec":
            continue
        found += pod_mistakes(value, path)
        for part in ("initContainers", "containers"):
            for index, container in enumerate(mappings(value.get(part))):
                found += _command_mistakes(container, f"{path}.{part}[{index}]")
    return found


def templates(manifest: Manifest) -> Iterator[tuple[str, str, Manifest]]:
    """Yield the parts of an object that are Kubernetes' own, with path and type."""
    layer: list[tuple[str, str, object]] = [("", "", manifest)]
    while layer:
        path, key, value = layer.pop(0)
        if isinstance(value, dict) and key == "service":
            yield path, "ServiceSpec", value
        elif isinstance(value, dict) and isinstance(value.get("containers"), list):
            yield path, "PodSpec", value
        elif isinstance(value, dict):
            below = [(f"{path}.{name}" if path else str(name), str(name)) for name in value]
            layer += [(*place, item) for place, item in zip(below, value.values(), strict=True)]
        elif isinstance(value, list):
            layer += [(f"{path}[{index}]", key, item) for index, item in enumerate(value)]


def fields_of(kind: str) -> Mapping[str, str]:
    """Return the type of each field of one of Kubernetes' types; empty for a scalar.

    A type is written as in ``kubernetes_fields``: ``[T]`` is a list, ``{T}`` a mapping.
    """
    return {name: field.type for name, field in _types().get(kind, {}).items()}


def is_known(kind: str) -> bool:
    """Return whether objects of this kind are Kubernetes' own and can be checked."""
    return "kind" in _types().get(kind, {})


def _command_mistakes(container: Manifest, path: str) -> Iterator[FieldError]:
    """Yield a program and its arguments that are written as one word: no program is named so."""
    for key in ("command", "args"):
        words = container.get(key)
        if not words:
            continue
        if isinstance(words, str):
            yield FieldError(f"{path}.{key}", words, f"write a list of strings: {_listed(words)}")
        elif isinstance(words, list) and isinstance(words[0], str) and _is_a_command(words[0]):
            allowed = f"it would be the name of one program; write its words: {_listed(words[0])}"
            yield FieldError(f"{path}.{key}[0]", words[0], allowed)
        return


def _is_a_command(word: str) -> bool:
    """Return whether a word holds a program with arguments, not a path that contains a space."""
    first, _, rest = word.strip().partition(" ")
    return bool(rest) and ("/" not in first or _PROGRAM.fullmatch(first) is not None)


def _listed(text: str) -> str:
    """Return a command line as a list in YAML."""
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    return f"[{', '.join(_quoted(word) for word in words)}]"


def _quoted(word: str) -> str:
    """Return a word as YAML needs it: quoted where it would be a number, a boolean or null."""
    if _PLAIN.fullmatch(word) and word.lower() not in _NO_TEXT:
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _mistakes(kind: str, value: object, path: str) -> Iterator[FieldError]:
    if value is None:
        return
    if kind.startswith("["):
        yield from _list_mistakes(kind[1:-1], value, path)
    elif kind.startswith("{"):
        yield from _map_mistakes(kind[1:-1], value, path)
    elif kind in _WANTED:
        yield from _scalar_mistakes(kind, value, path)
    elif kind != "o":
        yield from _record_mistakes(kind, value, path)


def _list_mistakes(kind: str, value: object, path: str) -> Iterator[FieldError]:
    if not isinstance(value, list):
        yield FieldError(path, value, "write a list")
        return
    for index, item in enumerate(value):
        yield from _mistakes(kind, item, f"{path}[{index}]")


def _map_mistakes(kind: str, value: object, path: str) -> Iterator[FieldError]:
    if not isinstance(value, dict):
        yield FieldError(path, value, "write a mapping")
        return
    for key, item in value.items():
        where = f"{path}.{key}" if re.fullmatch(r"[\w-]+", str(key)) else f"{path}[{key}]"
        yield from _mistakes(kind, item, where)


def _record_mistakes(kind: str, value: object, path: str) -> Iterator[FieldError]:
    if not isinstance(value, dict):
        yield FieldError(path, value, "write a mapping of fields")
        return
    fields = _types().get(kind, {})
    meant = set()
    for key, item in value.items():
        where = f"{path}.{key}" if path else str(key)
        if key in fields:
            yield from _mistakes(fields[key].type, item, where)
        elif item is not None:
            near = _similar_field(str(key), fields)
            meant.add(near)
            yield Unknown(where, item, _unknown(str(key), near, kind, fields))
    for key, field in fields.items():
        if field.required and value.get(key) is None and key not in meant:
            yield FieldError(f"{path}.{key}" if path else key, None, "write it: it is required")


def _similar_field(key: str, fields: Mapping[str, _Field]) -> str:
    lowered = {name.lower(): name for name in fields}
    near = difflib.get_close_matches(key.lower(), lowered, n=1, cutoff=0.7)
    return lowered[near[0]] if near else ""


def _unknown(key: str, near: str, kind: str, fields: Mapping[str, _Field]) -> str:
    if near:
        return f"did you mean {near!r}?"
    elsewhere = [other for other in ("PodSpec", "Container") if key in _types()[other]]
    if elsewhere:
        return f"it is a field of the {elsewhere[0]}, not of the {kind}"
    listed = ", ".join(name for name in fields if name not in ("apiVersion", "kind"))
    article = "an" if kind[0] in "AEIO" else "a"
    return f"fields of {article} {kind} in Kubernetes {kubernetes_fields.VERSION}: {listed}"


#: What to write where a scalar has another type.
_WANTED = {
    "s": "write a string (quote it)",
    "i": "write an integer, without quotes",
    "n": "write a number, without quotes",
    "b": "write true or false, without quotes",
    "q": "",
    "x": "write an integer or a string",
    "y": "write base64; in a Secret, stringData takes plain text",
}


def _scalar_mistakes(kind: str, value: object, path: str) -> Iterator[FieldError]:
    if kind == "q" and not is_quantity(value):
        near = similar_quantity(value)
        hint = f"did you mean {near}? " if near else ""
        allowed = f"{hint}write a quantity of Kubernetes, such as 500m, 2, 512Mi, 4Gi or 4G"
        yield FieldError(path, value, allowed)
    elif not _fits(kind, value):
        yield FieldError(path, value, _WANTED[kind])


def _fits(kind: str, value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "s":
            return isinstance(value, str)
        case "i":
            return isinstance(value, int) and not isinstance(value, bool)
        case "n":
            return number
        case "b":
            return isinstance(value, bool)
        case "x":
            return isinstance(value, str) or (number and not isinstance(value, float))
        case "y":
            return isinstance(value, str) and _is_base64(value)
    return True


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text.replace("\n", ""), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


@cached(1)
def _types() -> Mapping[str, Mapping[str, _Field]]:
    return _parsed_table(kubernetes_fields.TABLE)


def _parsed_table(table: str) -> dict[str, dict[str, _Field]]:
    types: dict[str, dict[str, _Field]] = {}
    for line in table.replace("\n ", " ").splitlines():
        name, _, fields = line.partition(":")
        types[name] = {}
        for field in filter(None, fields.strip().split(", ")):
            key, _, kind = field.partition(" ")
            types[name][key.rstrip("!")] = _Field(kind, required=key.endswith("!"))
    return types
