"""Generates the table of Kubernetes' own fields from the OpenAPI document of a Kubernetes release.

make fields

The document is part of the Go module k8s.io/kubernetes, which the tests build their cluster from.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

#: The release that the tests run on.
PINS = Path(__file__).parents[1] / "tests" / "cluster" / "tools" / "go.mod"
TARGET = Path(__file__).parents[1] / "daskjob" / "core" / "spec" / "kubernetes_fields.py"
#: The objects of a manifest that are Kubernetes' own, and the parts of ours that are.
ROOTS = (
    "ConfigMap",
    "Namespace",
    "PersistentVolumeClaim",
    "Pod",
    "PodSpec",
    "Secret",
    "Service",
    "ServiceAccount",
    "ServiceSpec",
)
_CORE = "io.k8s.api.core.v1."
_SCALARS = {"string": "s", "integer": "i", "boolean": "b", "number": "n"}
_SPECIAL = {"Quantity": "q", "IntOrString": "x", "Time": "s", "MicroTime": "s", "FieldsV1": "o"}
_HEADER = '''"""Kubernetes' own fields, by type: made by `make fields` from Kubernetes {version}.

A line begins with a type; its fields follow, each with its type and, if required, a `!`:
`s` text, `i` integer, `n` number, `b` boolean, `q` quantity, `x` integer or text, `y` base64,
`o` anything, `[T]` a list, `{{T}}` a mapping with free keys.
"""

VERSION = "{version}"

TABLE = """\\
{table}
"""
'''


def pinned_version() -> str:
    """Return the release of Kubernetes that the tests build."""
    found = re.search(r"k8s\.io/kubernetes (v[\d.]+)", PINS.read_text())
    assert found, f"{PINS} names no version of k8s.io/kubernetes"
    return found.group(1)


def document(version: str) -> Mapping[str, Any]:
    """Return the definitions of a release's OpenAPI document."""
    module = f"k8s.io/kubernetes@{version}"
    found = subprocess.run(
        ["go", "mod", "download", "-json", module], capture_output=True, check=True, text=True
    )
    folder = Path(json.loads(found.stdout)["Dir"])
    text = (folder / "api" / "openapi-spec" / "swagger.json").read_text()
    definitions: Mapping[str, Any] = json.loads(text)["definitions"]
    return definitions


def module_text(definitions: Mapping[str, Any], version: str) -> str:
    """Return the text of the generated module."""
    names, todo = set[str](), [_CORE + root for root in ROOTS]
    while todo:
        name = todo.pop()
        if name not in names and _short(name) not in _SPECIAL:
            names.add(name)
            todo += _references(definitions[name])
    table = "\n".join(_lines(name, definitions[name]) for name in sorted(names, key=_short))
    return _HEADER.format(version=version.removeprefix("v"), table=table)


def _lines(name: str, definition: Mapping[str, Any]) -> str:
    required = definition.get("required", ())
    fields = [
        f"{field}{'!' if field in required else ''} {_type(shape)}"
        for field, shape in sorted(definition.get("properties", {}).items())
    ]
    return textwrap.fill(
        f"{_short(name)}: {', '.join(fields)}",
        width=98,
        subsequent_indent=" ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _type(shape: Mapping[str, Any]) -> str:
    if "$ref" in shape:
        name = _short(shape["$ref"])
        return _SPECIAL.get(name, name)
    if shape.get("type") == "array":
        return f"[{_type(shape['items'])}]"
    if "additionalProperties" in shape:
        return "{" + _type(shape["additionalProperties"]) + "}"
    if shape.get("format") == "byte":
        return "y"
    return _SCALARS.get(shape.get("type", ""), "o")


def _short(name: str) -> str:
    return name.rpartition(".")[2].rpartition("/")[2]


def _references(shape: object) -> Iterable[str]:
    if isinstance(shape, dict):
        if "$ref" in shape:
            yield shape["$ref"].rpartition("/")[2]
        for value in shape.values():
            yield from _references(value)


def main() -> None:
    """Write the module."""
    version = sys.argv[1] if len(sys.argv) > 1 else pinned_version()
    TARGET.write_text(module_text(document(version), version))
    print(TARGET)


if __name__ == "__main__":
    main()
