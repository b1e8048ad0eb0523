"""Kubernetes' objects with the attributes of its Python client, without that client.

``V1Pod``, ``V1Container`` and the other types of pods, Services and PodDisruptionBudgets have the
attributes, constructors, ``attribute_map``, ``openapi_types`` and ``to_dict`` of the package
``kubernetes``, so code written for one works with the other, and its ``ApiClient`` accepts them.
Fields can also be had as those of a manifest: ``pod["spec"]["nodeSelector"]``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from daskjob.core.manifests import Manifest
from daskjob.core.spec.kubernetes_fields import TABLE

#: Types that manifests of jobs do not have.
_MORE = """\
PodDisruptionBudget: apiVersion s, kind s, metadata ObjectMeta, spec PodDisruptionBudgetSpec,
 status o
PodDisruptionBudgetSpec: maxUnavailable x, minAvailable x, selector LabelSelector,
 unhealthyPodEvictionPolicy s
"""
_SCALARS = {"s": str, "q": str, "y": str, "i": int, "n": float, "b": bool}
#: What the client's generator does not use as a name of Python.
_RESERVED = frozenset({"continue", "exec", "except", "from", "import", "not"})


class V1Object:
    """An object, or a part of one; an attribute that is not set is ``None``."""

    #: The JSON name of each attribute, and its type as the client names it.
    attribute_map: ClassVar[dict[str, str]] = {}
    openapi_types: ClassVar[dict[str, str]] = {}

    def __init__(self, **fields: Any) -> None:
        for name in self.attribute_map:
            super().__setattr__(name, None)
        for name, value in fields.items():
            if name not in self.attribute_map:
                raise TypeError(f"{type(self).__name__} has no argument {name!r}")
            super().__setattr__(name, value)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.attribute_map:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        super().__setattr__(name, value)

    def __getitem__(self, field: str) -> Any:
        """Return a field by its JSON name, as of the manifest that the object stands for."""
        return getattr(self, self._attribute_of(field))

    def __setitem__(self, field: str, value: Any) -> None:
        setattr(self, self._attribute_of(field), value)

    def _attribute_of(self, field: str) -> str:
        names = (name for name, known in self.attribute_map.items() if known == field)
        found = next(names, None)
        if found is None:
            raise KeyError(field)
        return found

    #: Without it, an object with items would be iterable by their numbers.
    __iter__ = None

    def __eq__(self, other: object) -> bool:
        if not hasattr(other, "attribute_map"):
            return NotImplemented
        return bool(manifest_of(self) == manifest_of(other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = (f"{name}={value!r}" for name, value in self.to_dict().items() if value)
        return f"{type(self).__name__}({', '.join(fields)})"

    def to_dict(self, serialize: bool = False) -> dict[str, Any]:
        """Return all attributes as a dictionary; with ``serialize``, by their JSON names."""
        names = self.attribute_map
        return {
            names[name] if serialize else name: _plain(getattr(self, name), serialize)
            for name in names
        }

    def to_str(self) -> str:
        """Return the attributes as text."""
        return repr(self.to_dict())


def _plain(value: Any, serialize: bool) -> Any:
    if isinstance(value, V1Object):
        return value.to_dict(serialize)
    if isinstance(value, list):
        return [_plain(item, serialize) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item, serialize) for key, item in value.items()}
    return value.to_dict() if hasattr(value, "attribute_map") else value


def _as_generated(self: V1Object) -> Manifest:
    """Return the manifest, for clients from 37 on, which recognize types by these references."""
    found: Manifest = manifest_of(self)
    return found


_to_dict: Any = V1Object.to_dict
_to_dict._openapi_generator_to_dict = _as_generated
_as_generated_too: Any = _as_generated
_as_generated_too._openapi_generator_to_dict = _to_dict


def __getattr__(name: str) -> type[V1Object]:
    if name.startswith("V1") and name[2:] in _types():
        return model(name[2:])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def model(kind: str) -> type[V1Object]:
    """Return the class of a type: ``V1Pod`` for ``Pod``."""
    fields = _types()[kind]
    attributes = {
        "__doc__": f"Kubernetes' {kind}.",
        "__module__": __name__,
        "attribute_map": {_attribute(name): name for name in fields},
        "openapi_types": {_attribute(name): _client_type(code) for name, code in fields.items()},
    }
    return type(f"V1{kind}", (V1Object,), attributes)


def fields_of(kind: str) -> tuple[str, ...]:
    """Return the JSON names of the fields of a type."""
    return tuple(_types()[kind])


def object_of(kind: str, manifest: Mapping[str, Any], *, convert: bool = False) -> V1Object:
    """Return a manifest as an object; unknown fields are dropped, as the client does.

    With ``convert``, scalars get the type of their field: ``--nthreads, 2`` in YAML is text then.
    """
    found: V1Object = _value(kind, manifest, convert)
    return found


def _value(code: str, value: Any, convert: bool) -> Any:
    if value is None:
        return None
    if code.startswith("["):
        items = value if isinstance(value, list | tuple) else [value]
        return [_value(code[1:-1], item, convert) for item in items]
    if code.startswith("{"):
        return {key: _value(code[1:-1], item, convert) for key, item in dict(value).items()}
    if code in _types():
        given = manifest_of(value)
        known = {name: given[name] for name in _types()[code] if given.get(name) is not None}
        fields = {_attribute(n): _value(_types()[code][n], v, convert) for n, v in known.items()}
        return model(code)(**fields)
    kind = _SCALARS.get(code)
    return kind(value) if kind and convert and not isinstance(value, datetime) else value


def manifest_of(value: Any) -> Any:
    """Return an object of any client, or of ours, as a manifest; a dictionary is copied."""
    if isinstance(value, Mapping):
        return {key: manifest_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [manifest_of(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    names = getattr(value, "attribute_map", None)
    if isinstance(names, Mapping):
        pairs = ((field, getattr(value, name, None)) for name, field in names.items())
        return {field: manifest_of(item) for field, item in pairs if item is not None}
    return value


@cache
def _types() -> dict[str, dict[str, str]]:
    return dict(_parsed(TABLE + _MORE))


def _parsed(table: str) -> Iterator[tuple[str, dict[str, str]]]:
    for line in table.replace("\n ", " ").splitlines():
        kind, _, fields = line.partition(": ")
        pairs = (field.split(" ") for field in fields.split(", ") if field)
        yield kind, {name.rstrip("!"): code for name, code in pairs}


@cache
def _attribute(name: str) -> str:
    """Return the attribute of a JSON name, as the generator of the client derives it."""
    plain = re.sub(r"(IP|CIDR|URL)s", lambda found: found[1].title() + "s", name)
    split = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", plain)
    found = re.sub(r"([a-z\d])([A-Z])", r"\1_\2", split).lower()
    return f"_{found}" if found in _RESERVED else found


def _client_type(code: str) -> str:
    if code.startswith("["):
        return f"list[{_client_type(code[1:-1])}]"
    if code.startswith("{"):
        return f"dict(str, {_client_type(code[1:-1])})"
    if code in _SCALARS:
        return _SCALARS[code].__name__
    return f"V1{code}" if code in _types() else "object"
