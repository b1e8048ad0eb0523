"""The page of the four kinds: every field, from the CustomResourceDefinitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from daskjob.core.schema import crds
from daskjob.core.schema.kinds import KINDS
from scripts.reference.markdown import code, prose, table

Schema = dict[str, Any]


def kinds_page() -> str:
    """Return the fields of all kinds as Markdown."""
    versions = {crd["spec"]["names"]["kind"]: crd["spec"] for crd in crds()}
    parts: list[str] = []
    for kind in KINDS:
        parts += _kind(versions[kind.kind.value], versions["DaskCluster"])
    return "\n\n".join(part for part in parts if part)


def _kind(spec: Schema, cluster: Schema) -> Iterator[str]:
    names, (version,) = spec["names"], spec["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    yield f"## {names['kind']}"
    short = ", ".join(code(name) for name in [names["plural"], *names.get("shortNames", ())])
    yield f"{prose(schema['description'])} Names for `kubectl`: {short}."
    columns = [
        (code(column["name"]), code(column["jsonPath"]), "yes" if column.get("priority") else "")
        for column in version["additionalPrinterColumns"]
    ]
    yield "Columns of `kubectl get`:"
    yield table(["column", "field", "only with `-o wide`"], columns)
    shared = None if names["kind"] == "DaskCluster" else _spec_of(cluster)
    for part in ("spec", "status"):
        yield from _object(f"{names['kind']}: {part}", schema["properties"][part], shared, part)


def _spec_of(spec: Schema) -> Schema:
    schema: Schema = spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def _object(title: str, schema: Schema, shared: Schema | None, path: str) -> Iterator[str]:
    yield f"### {title}"
    yield prose(schema.get("description", ""))
    required = set(schema.get("required", ()))
    rows, below = [], []
    for name, field in schema.get("properties", {}).items():
        same = shared is not None and field.get("properties") == shared["properties"]
        about = prose(field.get("description", ""))
        if name in required:
            about = f"**Required.** {about}"
        if same:
            about += " [Its fields](#daskcluster-spec) are those of a DaskCluster's spec."
        elif inner := _inner(field):
            anchor = f"{title}.{name}"
            about += f" [Its fields](#{_slug(anchor)})."
            below.append((anchor, inner, f"{path}.{name}"))
        rows.append((code(name), f"*{_type(field)}.* {about}{_limits(field)}"))
    yield table(["field", "type and meaning"], rows)
    for anchor, inner, place in below:
        yield from _object(anchor, inner, shared, place)


def _slug(title: str) -> str:
    kept = [letter for letter in title.lower() if letter.isalnum() or letter in "-_ "]
    return "".join(kept).replace(" ", "-")


def _inner(field: Schema) -> Schema | None:
    if field.get("type") == "array":
        field = field["items"]
    return field if field.get("properties") else None


def _type(field: Schema) -> str:
    kind = str(field.get("type", "any"))
    if kind == "array":
        return f"list of {_type(field['items'])}"
    if "format" in field and field["format"] == "date-time":
        return "time"
    if kind == "object" and isinstance(values := field.get("additionalProperties"), dict):
        return f"map of {_type(values)}"
    return kind


def _limits(field: Schema) -> str:
    parts = []
    if "enum" in field:
        parts.append("One of " + ", ".join(code(str(v)) for v in field["enum"] if v is not None))
    if "default" in field:
        parts.append(f"Default: {code(str(field['default']))}")
    if "minimum" in field and "maximum" in field and field["maximum"] < 2**31 - 1:
        parts.append(f"From {field['minimum']} to {field['maximum']}")
    elif field.get("minimum"):
        parts.append(f"At least {field['minimum']}")
    return "".join(f" {part}." for part in parts)
