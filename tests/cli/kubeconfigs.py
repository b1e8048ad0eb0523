"""Kubeconfigs of users with few rights."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster.plugin import Kubernetes


def kubeconfig_of(kubernetes: Kubernetes, namespace: str, account: str, folder: Path) -> Path:
    """Return the kubeconfig of a service account."""
    token = kubernetes.kubectl("create", "token", account, f"--namespace={namespace}").strip()
    config = json.loads(kubernetes.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    config["users"] = [{"name": "user", "user": {"token": token}}]
    config["contexts"] = [
        {
            "name": "user",
            "context": {
                "cluster": config["clusters"][0]["name"],
                "user": "user",
                "namespace": namespace,
            },
        }
    ]
    config["current-context"] = "user"
    path = folder / f"{account}.kubeconfig"
    path.write_text(json.dumps(config))
    return path
