"""TLS between client, scheduler and workers: certificates in a Secret of the cluster. Pure."""

from __future__ import annotations

import base64
import copy
from pathlib import Path
from typing import Any

from distributed.security import Security

from daskjob.core import names
from daskjob.core.command_line import words
from daskjob.core.manifests import Manifest, mapping, mappings
from daskjob.kubecluster.errors import ValidationError

FOLDER = "/daskjob/tls"
_VOLUME = "daskjob-tls"


def checked_security(given: object) -> Security | None:
    """Return what ``security=`` means; true makes certificates for this cluster alone.

    Raises
    ------
    ValidationError
        It is no ``Security``, or lacks certificates.
    """
    if given is None or given is False:
        return None
    if given is True:
        try:
            return Security.temporary()
        except ImportError as error:
            raise ValidationError(f"security=True: {error}") from error
    if isinstance(given, Security):
        return given
    raise ValidationError(f"security: {given!r} is neither True nor a distributed.Security")


def is_secure(manifest: Manifest) -> bool:
    """Return whether the scheduler of a cluster already uses certificates."""
    spec = mapping(mapping(manifest.get("spec")).get("scheduler"))
    containers = mappings(mapping(spec.get("spec")).get("containers"))
    return any(word.startswith("--tls-") for one in containers for word in words(one))


def secured(manifest: Manifest, secret: str) -> Manifest:
    """Return a cluster whose scheduler and workers use the certificates of a Secret."""
    made = copy.deepcopy(manifest)
    for role in ("scheduler", "worker"):
        secure_pod(made["spec"][role]["spec"], role, secret)
    return made


def secure_pod(pod: Manifest, role: str, secret: str) -> None:
    """Have the first container of a pod use the certificates of its role, in place."""
    volume = {"name": _VOLUME, "secret": {"secretName": secret}}
    pod["volumes"] = [*(pod.get("volumes") or ()), volume]
    container = pod["containers"][0]
    mount = {"name": _VOLUME, "mountPath": FOLDER, "readOnly": True}
    container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]
    key = "args" if container.get("args") else "command"
    container[key] = [
        *(container.get(key) or ["dask", role]),
        *("--protocol", "tls", "--tls-ca-file", f"{FOLDER}/ca.pem"),
        *("--tls-cert", f"{FOLDER}/{role}.pem", "--tls-key", f"{FOLDER}/{role}-key.pem"),
    ]


def secret_name(cluster: str) -> str:
    """Return the name of the Secret with the certificates of a cluster."""
    return names.shortened(f"{cluster}-tls")


def certificates(security: Security) -> dict[str, str]:
    """Return the files of the Secret.

    Raises
    ------
    ValidationError
        A certificate is missing, or cannot be read.
    """
    fields = {"ca.pem": "tls_ca_file"}
    for role in ("scheduler", "worker"):
        fields |= {f"{role}.pem": f"tls_{role}_cert", f"{role}-key.pem": f"tls_{role}_key"}
    return {file: _text(security, field) for file, field in fields.items()}


def _text(security: Security, field: str) -> str:
    value: Any = getattr(security, field, None)
    if not value:
        raise ValidationError(f"security has no {field}, which scheduler and workers need")
    if "\n" in value:
        return str(value)
    try:
        return Path(value).read_text()
    except OSError as error:
        raise ValidationError(f"security: {field} cannot be read: {error}") from error


def security_of(secret: Manifest) -> Security:
    """Return what a client needs to connect to a cluster, from its Secret; workers have the same.

    Raises
    ------
    KeyError, ValueError
        It has no such certificates.
    """
    data = mapping(secret.get("data"))
    files = ("ca.pem", "worker.pem", "worker-key.pem")
    ca, cert, key = (base64.b64decode(str(data[file]), validate=True).decode() for file in files)
    return Security(
        tls_ca_file=ca, tls_client_cert=cert, tls_client_key=key, require_encryption=True
    )


def secret_manifest(cluster: str, security: Security) -> Manifest:
    """Return the Secret with the certificates of a cluster."""
    files = certificates(security)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": secret_name(cluster)},
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in files.items()},
    }
