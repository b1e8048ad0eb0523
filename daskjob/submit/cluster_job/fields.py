"""``--set PATH=VALUE``: sets any field of an object, with the type that its schema gives it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from daskjob.core.manifests import Manifest
from daskjob.core.names import Kind
from daskjob.core.shapes import Anything, Boolean, Choice, Integer, Many, Number, Record, Texts
from daskjob.core.shapes import Text as TextShape
from daskjob.core.spec.cluster import SERVICE
from daskjob.core.spec.cluster import SPEC as CLUSTER_SPEC
from daskjob.core.spec.job import SPEC
from daskjob.core.spec.kubernetes_objects import fields_of
from daskjob.core.spec.pod import POD_SPEC
from daskjob.submit.settings.nearest import did_you_mean
from daskjob.submit.settings.sources import WrongSettings

#: A field's type: a shape of daskjob's own, or a type of Kubernetes.
_Type: TypeAlias = Any
#: Types of Kubernetes where a shape of daskjob knows only what it relies on.
_KUBERNETES = {POD_SPEC.name: "PodSpec", SERVICE.name: "ServiceSpec"}
_STEP = re.compile(r"\.?([^.\[\]]+)|\[([^\[\]]+)\]")


@dataclass(frozen=True, slots=True)
class Root:
    """The kind of an object whose fields are set."""

    kind: Kind
    spec: Record
    #: A field of the spec, for messages.
    example: str
    #: Fields that other parts depend on: settings set them everywhere.
    by_settings: Mapping[str, str]

    @property
    def fields(self) -> Mapping[str, _Type]:
        """The fields of the object."""
        return {"metadata": "ObjectMeta", "spec": self.spec}


JOB = Root(
    Kind.JOB,
    SPEC,
    "stallAction",
    {
        "metadata.name": "--name NAME",
        "metadata.generateName": "--name NAME",
        "metadata.namespace": "--namespace NAME",
        "spec.submissionID": "--token TOKEN",
    },
)
CLUSTER = Root(
    Kind.CLUSTER,
    CLUSTER_SPEC,
    "idleTimeout",
    {
        "metadata.name": "NAME as an argument",
        "metadata.generateName": "NAME as an argument",
        "metadata.namespace": "--namespace NAME",
    },
)


@dataclass(frozen=True, slots=True)
class _Place:
    """A step of a path: the name of a field, the index of an item, or a key."""

    name: str
    path: str


def set_fields(manifest: Manifest, assignments: Mapping[str, object], root: Root = JOB) -> None:
    """Set fields of a valid object, in place.

    Raises
    ------
    WrongSettings
        A path names no field, or its value has another type; with the nearest name.
    """
    for path, value in assignments.items():
        try:
            _set(manifest, path, value, root)
        except ValueError as error:
            raise WrongSettings(f"--set {path}: {error}") from error


def _set(manifest: Manifest, path: str, value: object, root: Root) -> None:
    steps = _steps(path, root)
    plain = ".".join(step.name for step in steps)
    if plain in root.by_settings:
        raise ValueError(f"write {root.by_settings[plain]}")
    holder: Any = manifest
    of: _Type = root.fields
    for index, step in enumerate(steps):
        inner = _type_of(of, step, root)
        if index < len(steps) - 1:
            holder, of = _entered(holder, step, inner), inner
            continue
        _assign(holder, step, _typed(inner, value))


def _steps(path: str, root: Root) -> list[_Place]:
    found, end = [], 0
    for match in _STEP.finditer(path):
        if match.start() != end:
            break
        end = match.end()
        found.append(_Place(match[1] or match[2], path[:end]))
    if end != len(path) or not found or path.startswith("."):
        raise ValueError(f"write a path such as spec.{root.example} or metadata.labels[team]")
    if found[0].name not in root.fields:
        meant = f"did you mean spec.{path}? " if found[0].name in root.spec.names else ""
        raise ValueError(f"{meant}write a path that starts with spec. or metadata.")
    if len(found) == 1:
        example = root.example if path == "spec" else "labels[team]"
        raise ValueError(f"write a field of it, such as {path}.{example}")
    return found


def _type_of(of: _Type, step: _Place, root: Root) -> _Type:
    """Return the type of the field, item or key that a step names.

    Raises
    ------
    ValueError
        There is none; the message has the nearest name.
    """
    if isinstance(of, Many) or (isinstance(of, str) and of.startswith("[")):
        if not step.name.isdecimal():
            raise ValueError(f"{step.path}: it is a list; write an index, such as [0]")
        return of.of if isinstance(of, Many) else of[1:-1]
    if isinstance(of, Texts):
        return TextShape("", "")
    if isinstance(of, Anything) or of == "o":
        return Anything("", "")
    if isinstance(of, str) and of.startswith("{"):
        return of[1:-1]
    fields = _fields(of)
    if step.name in fields:
        return fields[step.name]
    if not fields:
        raise ValueError(f"{step.path}: the field before it has no fields")
    where = step.path.rpartition(step.name)[0].rstrip(".[") or f"a {root.kind}"
    raise ValueError(f"{where} has no field {step.name!r}; {did_you_mean(step.name, fields)}")


def _fields(of: _Type) -> Mapping[str, _Type]:
    if isinstance(of, Mapping):
        return of
    if isinstance(of, Record):
        return {shape.name: _KUBERNETES.get(_pod_name(shape), shape) for shape in of.fields}
    return fields_of(of) if isinstance(of, str) else {}


def _pod_name(shape: _Type) -> str:
    """Return the name of a shape that passes a type of Kubernetes through; empty for others."""
    return shape.name if shape in (POD_SPEC, SERVICE) else ""


def _entered(holder: Any, step: _Place, of: _Type) -> Any:
    """Return the mapping or list at a step; an absent mapping or the next item is created."""
    is_list = isinstance(of, Many) or (isinstance(of, str) and of.startswith("["))
    if isinstance(holder, list):
        index = int(step.name)
        if index > len(holder):
            raise ValueError(f"{step.path}: the list has {len(holder)} items; [{len(holder)}] adds")
        if index == len(holder):
            holder.append([] if is_list else {})
        return holder[index]
    if not isinstance(holder.get(step.name), dict | list):
        holder[step.name] = [] if is_list else {}
    return holder[step.name]


def _assign(holder: Any, step: _Place, value: object) -> None:
    """Set a field or an item; null removes it."""
    if isinstance(holder, list):
        index = int(step.name)
        if index > len(holder):
            raise ValueError(f"{step.path}: the list has {len(holder)} items; [{len(holder)}] adds")
        if value is None:
            del holder[index : index + 1]
        else:
            holder[index : index + 1] = [value]
    elif value is None:
        holder.pop(step.name, None)
    else:
        holder[step.name] = value


def _typed(of: _Type, value: object) -> object:
    """Return a value, which may be the text of a flag, with the type of a field.

    Raises
    ------
    ValueError
        It has another type.
    """
    if value is None or (value == "null" and of != "s"):
        return None
    match of:
        case Choice():
            if str(value) not in of.values:
                raise ValueError(f"{value!r}: {did_you_mean(str(value), of.values)}")
            return str(value)
        case TextShape() | "s" | "q":
            return _text(value)
        case Integer() | "i":
            number = _from_text(value)
            return _checked(number, int, "write a whole number", value)
        case Number() | "n":
            return _checked(_from_text(value), (int, float), "write a number", value)
        case Boolean() | "b":
            return _checked(_from_text(value), bool, "write true or false", value)
        case "x":
            text = str(value)
            return int(text) if re.fullmatch(r"\d{1,9}", text) else text
        case Many():
            return _checked(_from_text(value), list, "write a list, such as [a, b]", value)
        case str() if of.startswith("["):
            return _checked(_from_text(value), list, "write a list, such as [a, b]", value)
        case Anything() | "o":
            return _from_text(value)
    return _checked(_from_text(value), dict, "write a mapping, or set a field of it", value)


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r}: write a text, in quotes")
    return str(value)


def _from_text(value: object) -> object:
    """Return the value that a flag's text means in YAML."""
    if not isinstance(value, str):
        return value
    import yaml

    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError(f"{value!r} is not YAML") from error


def _checked(found: object, of: Any, message: str, value: object) -> object:
    is_number = of is not bool and isinstance(found, bool)
    if not isinstance(found, of) or is_number:
        raise ValueError(f"{value!r}: {message}")
    return found
