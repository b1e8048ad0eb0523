"""The Role of docs/howto/rbac.md for users of KubeCluster, as tests apply it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from tests.cluster.plugin import Kubectl
from tests.docs.consoles import DOCS, blocks

ACCOUNT = "interactive"


def apply_role(kubectl: Kubectl, *, without: tuple[str, ...] = ()) -> None:
    """Create the account of the page, with its Role but for the rules of some resources."""
    (block,) = [b for b in blocks(DOCS / "howto/rbac.md") if b.file == f"{ACCOUNT}.yaml"]
    objects = list(yaml.safe_load_all(block.text))
    for found in objects:
        if found["kind"] == "Role":
            found["rules"] = [r for r in found["rules"] if not set(r["resources"]) & set(without)]
        for subject in found.get("subjects", ()):
            subject["namespace"] = kubectl.namespace
    kubectl("apply", "-f", "-", stdin=json.dumps(as_list(objects)))


def granted(kubectl: Kubectl) -> set[tuple[str, str]]:
    """Return the verbs and resources that the Role grants."""
    rules = json.loads(kubectl("get", "role", ACCOUNT, "-o", "json"))["rules"]
    return {(verb, what) for r in rules for verb in r["verbs"] for what in r["resources"]}


def as_list(objects: list[Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": objects}


def requested(audited: Any, namespace: str) -> Iterator[tuple[str, str]]:
    """Yield what the account requested."""
    user = f"system:serviceaccount:{namespace}:{ACCOUNT}"
    return ((r.verb, r.resource) for r in audited.requests if r.user == user and r.allowed)
