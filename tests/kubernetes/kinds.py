"""Our four kinds for a cluster that lacks them: open to whatever a test writes."""

from __future__ import annotations

from typing import Any

from daskjob.backends.kubernetes.resources import WATCHED
from daskjob.core import names

OURS = [resource for resource in WATCHED if resource.api_version == names.API_VERSION]


def definition_name(plural: str) -> str:
    """Return the name of a kind's definition."""
    return f"{plural}.{names.API_GROUP}"


def open_definition(kind: str, plural: str) -> dict[str, Any]:
    """Return a CustomResourceDefinition that takes anything, with a status beside it."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    status = {**anything, "properties": {"attempt": {"type": "integer"}}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {**anything, "properties": {"status": status}}},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": definition_name(plural)},
        "spec": {
            "group": names.API_GROUP,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [version],
        },
    }
