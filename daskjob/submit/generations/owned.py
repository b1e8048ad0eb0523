"""The objects that belong to one generation of a task, such as the Secret of its variables. No I/O.

They are named after the job, ``<name>-…``, and so are the references to them in its pods.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

from daskjob.core.manifests import Manifest, metadata

#: Field of a pod or container that refers to a ConfigMap or a Secret → field of its name.
_REFERENCES = {
    "configMap": "name",
    "configMapKeyRef": "name",
    "configMapRef": "name",
    "secret": "secretName",
    "secretKeyRef": "name",
    "secretRef": "name",
}

#: Field of ``spec.code``: a list of names.
_CODE = "configMaps"


def owned_by(owned: Sequence[Manifest], known: str, name: str) -> list[Manifest]:
    """Return objects named after the job ``known``, as those of the job ``name``.

    Raises
    ------
    ValueError
        One has another name, so that two generations would have the same object.
    """
    for item in owned:
        if not (known and _name(item).startswith(f"{known}-")):
            raise ValueError(f"{_name(item) or 'an object'} needs a name like {known or 'JOB'}-env")
    made = copy.deepcopy(list(owned))
    for item in made:
        item["metadata"]["name"] = name + _name(item).removeprefix(known)
    return made


def with_references(spec: Any, known: str, name: str, objects: Iterable[str]) -> Any:
    """Return a spec that refers to the objects of the job ``name`` in place of those of ``known``.

    ``objects`` are the names of the latter.
    """
    names = {old: name + old.removeprefix(known) for old in objects}
    return _renamed(spec, names)


def _name(item: Manifest) -> str:
    return str(metadata(item).get("name") or "")


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _reference(key, item, names) for key, item in value.items()}


def _reference(key: str, item: Any, names: dict[str, str]) -> Any:
    if key == _CODE and isinstance(item, list):
        return [names.get(name, name) if isinstance(name, str) else name for name in item]
    if not (isinstance(item, dict) and key in _REFERENCES):
        return _renamed(item, names)
    # A projected Secret has "name" where a volume has "secretName".
    fields = {_REFERENCES[key], "name"}
    return {
        field: names.get(text, text) if field in fields and isinstance(text, str) else text
        for field, text in item.items()
    }
