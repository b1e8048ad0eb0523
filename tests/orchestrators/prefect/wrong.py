"""What is wrong with a job, and what each of its users is to read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.plugin import Kubectl, Kubernetes
from tests.why.registry import PRIVATE, UNKNOWN, registry_pod

#: A user who may create DaskJobs, and nothing that they own.
_ROLE: dict[str, Any] = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "metadata": {"name": "no-secrets"},
    "rules": [{"apiGroups": ["kubernetes.dask.org"], "resources": ["daskjobs"], "verbs": ["*"]}],
}
#: The case, what its message contains, and the class of the error.
CASES = {
    "no kubeconfig": ("/nonexistent/kubeconfig", "NoCredentials"),
    "no context": ("there is no context 'nowhere'", "NoCredentials"),
    "rejected token": ("Unauthorized", "Unauthorized"),
    "no permission": ("grants it with the rule {apiGroups: [kubernetes.dask.org]", "Forbidden"),
    "unknown image": (UNKNOWN, "ImageFailure"),
    "private image": (PRIVATE, "ImageFailure"),
    "no operator": ("no operator has picked up", "NotPickedUp"),
}


@dataclass(frozen=True)
class Users:
    """Kubeconfigs of users with few permissions."""

    nobody: Path
    without_secrets: Path
    #: Its token is one of no cluster.
    rejected: Path


def users(kubernetes: Kubernetes, namespace: str, folder: Path) -> Users:
    """Create them."""
    kubectl = Kubectl(kubernetes, namespace)
    kubectl("apply", "-f", "-", stdin=json.dumps(_ROLE))
    found = {}
    for name in ("nobody", "without-secrets"):
        kubectl("create", "serviceaccount", name)
        config = json.loads(kubernetes.kubectl("config", "view", "--raw", "--output=json"))
        token = kubectl("create", "token", name).strip()
        for user in config["users"]:
            user["user"] = {"token": token}
        found[name] = folder / name
        found[name].write_text(json.dumps(config))
    found["rejected"] = folder / "rejected"
    text = found["nobody"].read_text()
    found["rejected"].write_text(text.replace(token_of(text), "not-a-token"))
    account = f"--serviceaccount={namespace}:without-secrets"
    kubectl("create", "rolebinding", "no-secrets", "--role=no-secrets", account)
    return Users(found["nobody"], found["without-secrets"], found["rejected"])


def token_of(kubeconfig: str) -> str:
    return str(json.loads(kubeconfig)["users"][0]["user"]["token"])


def start_registry(kubernetes: Kubernetes, namespace: str, image: str) -> None:
    """Start a registry in the node, without a single image."""
    kubectl = Kubectl(kubernetes, namespace)
    kubectl("apply", "-f", "-", stdin=json.dumps(registry_pod(image)))
    kubectl("wait", "--for=condition=Ready", "pod/registry", "--timeout=180s")


def changes(users: Users) -> dict[str, dict[str, Any]]:
    """Return the changed settings of each case: of a block, and variables of a deployment."""
    return {
        "no kubeconfig": {"kubeconfig": "/nonexistent/kubeconfig"},
        "no context": {"context": "nowhere"},
        "rejected token": {"kubeconfig": str(users.rejected)},
        "no permission": {"kubeconfig": str(users.nobody)},
        "unknown image": {"image": UNKNOWN},
        "private image": {"image": PRIVATE},
        "no operator": {"namespace": "default", "pickup_timeout_seconds": 3},
    }
