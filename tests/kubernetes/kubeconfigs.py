"""Kubeconfigs of tests: one cluster ``c``, one user ``u``, contexts ``one`` and ``two``."""

from __future__ import annotations

import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

import yaml


def kubeconfig(
    folder: Path,
    user: dict[str, Any],
    cluster: dict[str, Any] | None = None,
    *,
    name: str = "kubeconfig",
    **more: Any,
) -> str:
    """Write a kubeconfig; return its path."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "one",
        "clusters": [{"name": "c", "cluster": {"server": "https://one:6443", **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u"}},
            {"name": "two", "context": {"cluster": "c", "user": "u", "namespace": "second"}},
        ],
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(yaml.safe_dump(config))
    return str(path)


def web_token(**claims: Any) -> str:
    """Return an unsigned JSON Web Token, which every server rejects."""

    def part(content: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part({'sub': 'me', **claims})}.c2lnbmF0dXJl"


def expired_token(seconds: float = 60.0) -> str:
    return web_token(exp=int(time.time() - seconds))


def plugin(folder: Path, program: str, **settings: Any) -> dict[str, Any]:
    """Write a plugin, a Python program; return the user that it is for."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "plugin.py"
    path.write_text(program)
    command = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": [str(path)],
        "interactiveMode": "Never",
        **settings,
    }
    return {"exec": command}


def printing(version: str = "v1", **status: Any) -> str:
    """Return a plugin that prints these credentials."""
    printed = {"apiVersion": f"client.authentication.k8s.io/{version}", "kind": "ExecCredential"}
    return f"print({json.dumps({**printed, 'status': status})!r})"
