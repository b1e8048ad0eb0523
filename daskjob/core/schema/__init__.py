"""The CustomResourceDefinitions of our four kinds, generated from spec and status.

They need Kubernetes 1.30 or newer: ``optionalOldSelf`` allows checking a name at creation and never
again.
"""

from __future__ import annotations

from daskjob.core import names
from daskjob.core.manifests import Manifest
from daskjob.core.schema.kinds import KINDS, Column, KindSchema
from daskjob.core.schema.openapi import properties, validation
from daskjob.core.spec.meta import NAME

#: ``kubectl get dask`` lists all four.
CATEGORY = "dask"

__all__ = ["CATEGORY", "crd", "crds"]


def crds() -> list[Manifest]:
    """Return the CustomResourceDefinitions of all four kinds."""
    return [crd(schema) for schema in KINDS]


def crd(schema: KindSchema) -> Manifest:
    """Return the CustomResourceDefinition of a kind."""
    kind = schema.kind
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{names.API_GROUP}"},
        "spec": {
            "group": names.API_GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": str(kind),
                "listKind": f"{kind}List",
                "plural": kind.plural,
                "singular": kind.lower(),
                **({"shortNames": list(schema.short_names)} if schema.short_names else {}),
                "categories": [CATEGORY],
            },
            "versions": [_version(schema)],
        },
    }


def _version(schema: KindSchema) -> Manifest:
    return {
        "name": names.API_VERSION.partition("/")[2],
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _root(schema)},
        "subresources": {"status": {}, **({"scale": _scale()} if schema.scaled else {})},
        "additionalPrinterColumns": [_column(column) for column in schema.columns],
    }


def _root(schema: KindSchema) -> Manifest:
    return {
        "description": schema.description,
        "type": "object",
        "required": [schema.spec.name],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            # The rule's fieldPath is the name, so the schema must declare it.
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            **properties((schema.spec, schema.status)),
        },
        "x-kubernetes-validations": [validation(NAME)],
    }


def _scale() -> Manifest:
    return {
        "specReplicasPath": ".spec.worker.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }


def _column(column: Column) -> Manifest:
    return {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.path,
        **({"priority": 1} if column.wide else {}),
    }
