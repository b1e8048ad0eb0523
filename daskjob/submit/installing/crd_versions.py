"""Compares the CustomResourceDefinitions of a cluster with those of this version."""

from __future__ import annotations

from typing import Any

from daskjob.core.manifests import Manifest, mapping, mappings


def is_established(crd: Manifest) -> bool:
    """Return whether the API server serves the kind."""
    conditions = mappings(mapping(crd.get("status")).get("conditions"))
    return any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions)


def difference(found: Manifest, wanted: Manifest) -> str:
    """Return the first field of the versions that differs; empty: they are the same."""
    return _first(_versions(found), _versions(wanted), "")


def unknown_fields(found: Manifest, wanted: Manifest) -> list[str]:
    """Return the fields of a spec that one CRD knows and another does not."""
    return sorted(_fields(_spec_of(found)) - _fields(_spec_of(wanted)))


def _versions(crd: Manifest) -> dict[str, Any]:
    versions = mappings(mapping(crd.get("spec")).get("versions"))
    return {str(version["name"]): version for version in versions}


def _first(found: Any, wanted: Any, path: str) -> str:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted({*found, *wanted}):
            below = _first(found.get(key), wanted.get(key), f"{path}.{key}".lstrip("."))
            if below:
                return below
        return ""
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = enumerate(zip(found, wanted, strict=True))
        return next(filter(None, (_first(f, w, f"{path}[{i}]") for i, (f, w) in pairs)), "")
    return "" if found == wanted else path


def _spec_of(crd: Manifest) -> dict[str, Any]:
    for version in _versions(crd).values():
        schema = mapping(mapping(version.get("schema")).get("openAPIV3Schema"))
        return mapping(mapping(schema.get("properties")).get("spec"))
    return {}


def _fields(schema: dict[str, Any], path: str = "spec") -> set[str]:
    found: set[str] = set()
    for name, below in mapping(schema.get("properties")).items():
        found |= {f"{path}.{name}"} | _fields(mapping(below), f"{path}.{name}")
    items = mapping(schema.get("items"))
    return found | (_fields(items, f"{path}[]") if items else set())
