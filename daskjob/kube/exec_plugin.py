"""Credential plugins: programs that a kubeconfig names, which print a token or a certificate."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from daskjob.kube.kubeconfig_files import Stanza
from daskjob.kube.tls import KeyPair, pem

_GROUP = "client.authentication.k8s.io/"
VERSIONS = (f"{_GROUP}v1", f"{_GROUP}v1beta1")
#: The time limit of a plugin that asks nothing; a login in a browser takes its time.
LIMIT_SECONDS = 60.0
#: How many of the last lines of a failed plugin an error shows.
SHOWN_LINES = 3
#: A token, a key, or a part of one: none of them is shown.
_SECRET = re.compile(r"[A-Za-z0-9+/_.=-]{24,}")


@dataclass(frozen=True, slots=True)
class Login:
    """The credentials that a plugin printed."""

    token: str = field(default="", repr=False)
    pair: KeyPair | None = None
    #: Seconds since the epoch; ``None``: they do not expire.
    expires_at: float | None = None


async def run_plugin(user: Stanza, cluster: Stanza) -> Login:
    """Run the plugin of a user, and return its credentials.

    A plugin may ask questions if there is a terminal. Its standard error goes there too.

    Raises
    ------
    Unusable
        It does not exist, failed, or printed no credentials.
    """
    plugin = Stanza("exec of user", user.name, user.file, _settings(user))
    version = plugin.text("apiVersion")
    if version not in VERSIONS:
        raise plugin.wrong("apiVersion", f"must be one of {', '.join(VERSIONS)}")
    output = await _output(plugin, _environment(plugin, cluster))
    return _login(plugin, output)


def _settings(user: Stanza) -> Mapping[str, Any]:
    found = user.fields["exec"]
    if isinstance(found, dict):
        return found
    raise user.wrong("exec", "must be a mapping")


def _interactive(plugin: Stanza) -> bool:
    mode = plugin.text("interactiveMode") or "IfAvailable"
    terminal = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
    if mode == "Always" and not terminal:
        raise plugin.wrong("interactiveMode", "the plugin needs a terminal, and there is none")
    return terminal and mode != "Never"


def _environment(plugin: Stanza, cluster: Stanza) -> dict[str, str]:
    more: dict[str, str] = {}
    for number, item in enumerate(plugin.fields.get("env") or []):
        if not isinstance(item, dict) or not item.get("name"):
            raise plugin.wrong(f"env[{number}]", "must have a name and a value")
        more[str(item["name"])] = str(item.get("value") or "")
    spec: dict[str, Any] = {"interactive": _interactive(plugin)}
    if plugin.flag("provideClusterInfo"):
        spec["cluster"] = _cluster_info(cluster)
    info = {"apiVersion": plugin.text("apiVersion"), "kind": "ExecCredential", "spec": spec}
    return {**os.environ, **more, "KUBERNETES_EXEC_INFO": json.dumps(info)}


def _cluster_info(cluster: Stanza) -> dict[str, Any]:
    """Return what a plugin may know of the cluster, as an ExecCredential has it."""
    import base64

    authority = pem(cluster, "certificate-authority")
    found: dict[str, Any] = {
        "server": cluster.text("server"),
        "tls-server-name": cluster.text("tls-server-name"),
        "insecure-skip-tls-verify": cluster.flag("insecure-skip-tls-verify"),
        "certificate-authority-data": base64.b64encode(authority).decode() if authority else "",
        "proxy-url": cluster.text("proxy-url"),
    }
    for item in cluster.fields.get("extensions") or []:
        if isinstance(item, dict) and item.get("name") == f"{_GROUP}exec":
            found["config"] = item.get("extension")
    return {name: value for name, value in found.items() if value}


async def _output(plugin: Stanza, environment: Mapping[str, str]) -> bytes:
    command = plugin.text("command")
    if not command:
        raise plugin.wrong("command", "is not set")
    # A bare name is looked up in PATH.
    program = str(plugin.path("command")) if os.sep in command else command
    interactive = json.loads(environment["KUBERNETES_EXEC_INFO"])["spec"]["interactive"]
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *map(str, plugin.fields.get("args") or []),
            env=environment,
            stdin=None if interactive else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=None if interactive else asyncio.subprocess.PIPE,
        )
    except (OSError, ValueError) as error:
        hint = " ".join(plugin.text("installHint").split())
        why = getattr(error, "strerror", None) or type(error).__name__
        raise plugin.wrong(
            "command", f"{program} cannot be run: {why}{f'; {hint}' if hint else ''}"
        ) from None
    try:
        async with asyncio.timeout(None if interactive else LIMIT_SECONDS):
            output, messages = await process.communicate()
    except TimeoutError:
        fault = f"{program} did not end within {LIMIT_SECONDS:g} s"
        raise plugin.wrong("command", fault) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise plugin.wrong(
            "command",
            f"{program} exited with non-zero code {process.returncode}{_shown(messages)}",
        )
    return output


def _shown(messages: bytes | None) -> str:
    """Return the last lines of a plugin, without anything that may be a secret."""
    lines = [line.strip() for line in (messages or b"").decode(errors="replace").splitlines()]
    last = " / ".join([line for line in lines if line][-SHOWN_LINES:])
    return f": {_SECRET.sub('…', last)}" if last else ""


def _login(plugin: Stanza, output: bytes) -> Login:
    command = plugin.text("command")
    try:
        found = json.loads(output)
    except (ValueError, RecursionError):
        raise plugin.wrong("command", f"the output of {command} is not JSON") from None
    status = found.get("status") if isinstance(found, dict) else None
    if not isinstance(status, dict):
        raise plugin.wrong("command", f"the output of {command} has no status")
    printed = found.get("apiVersion")
    if printed != plugin.text("apiVersion"):
        shown = printed if printed in VERSIONS else "none that is known"
        raise plugin.wrong("apiVersion", f"{command} printed another one: {shown}")
    token = str(status.get("token") or "")
    certificate = str(status.get("clientCertificateData") or "")
    key = str(status.get("clientKeyData") or "")
    if bool(certificate) != bool(key):
        raise plugin.wrong(
            "command", f"{command} printed only one of clientCertificateData and clientKeyData"
        )
    if not (token or certificate):
        raise plugin.wrong("command", f"{command} printed neither a token nor a certificate")
    pair = KeyPair(certificate.encode(), key.encode(), str(plugin)) if certificate else None
    return Login(token, pair, _expiry(plugin, status))


def _expiry(plugin: Stanza, status: Mapping[str, Any]) -> float | None:
    given = status.get("expirationTimestamp")
    if not given:
        return None
    try:
        found = datetime.fromisoformat(str(given).replace("Z", "+00:00"))
    except ValueError:
        raise plugin.wrong("command", "expirationTimestamp is not a time of RFC 3339") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
