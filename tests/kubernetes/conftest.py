"""What these tests add to the fixtures of the cluster: our four kinds."""

from __future__ import annotations

import json
from typing import Any, Protocol

import pytest

from daskjob.backends.kubernetes.resources import WATCHED
from daskjob.core import names


class Kubernetes(Protocol):
    """The fixture ``kubernetes``."""

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl; return what it prints."""
        ...


@pytest.fixture(scope="session")
def our_kinds(kubernetes: Kubernetes) -> None:
    """Have the four kinds, open to whatever a test writes, where the cluster lacks them."""
    kinds = [resource for resource in WATCHED if resource.api_version == names.API_VERSION]
    present = kubernetes.kubectl("get", "crds", "--output=name")
    missing = [kind for kind in kinds if f"/{kind.plural}.{names.API_GROUP}\n" not in present]
    if missing:
        made = [_definition(kind.kind, kind.plural) for kind in missing]
        listed = {"apiVersion": "v1", "kind": "List", "items": made}
        kubernetes.kubectl("apply", "-f", "-", stdin=json.dumps(listed))
    crds = [f"crd/{kind.plural}.{names.API_GROUP}" for kind in kinds]
    kubernetes.kubectl("wait", "--for=condition=Established", "--timeout=30s", *crds)


def _definition(kind: str, plural: str) -> dict[str, Any]:
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
        "metadata": {"name": f"{plural}.{names.API_GROUP}"},
        "spec": {
            "group": names.API_GROUP,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [version],
        },
    }
