"""The configuration of interactive clusters: Dask's keys ``kubernetes.*``.

The defaults are here, and not in a file of the user's home. A key whose default is ``None`` is not
registered: dask-kubernetes, installed in the same environment, gives some of them other defaults
and needs them.
"""

from __future__ import annotations

from typing import Any

import dask.config

from daskjob.core.warn import warn_user
from daskjob.kubecluster.errors import ValidationError
from daskjob.kubecluster.specs import DEFAULT_IMAGE, DEFAULT_WORKER_COMMAND

DEFAULTS: dict[str, Any] = {
    "kubernetes": {
        "name": "dask-{user}-{uuid}",
        "image": DEFAULT_IMAGE,
        "count": {"start": 0},
        "resources": {},
        "env": {},
        "worker-command": DEFAULT_WORKER_COMMAND,
        "create-mode": "CREATE_OR_CONNECT",
        "resource-timeout": 60,
        "scheduler-service-type": "ClusterIP",
        "scheduler-jupyter": False,
        "lease-duration-seconds": 300,
    }
}

#: Variables of the first generation that have other names today.
_RENAMED = {"name": ("kubernetes_worker_name",)}


def register() -> None:
    """Add the defaults to Dask's configuration; values that are there stay."""
    if DEFAULTS not in dask.config.defaults:
        dask.config.defaults.append(DEFAULTS)
        dask.config.update(dask.config.config, DEFAULTS, priority="old")


def configured(key: str) -> Any:
    """Return the value of ``kubernetes.<key>``; ``None`` if there is none."""
    default = dask.config.get(key, None, config=DEFAULTS["kubernetes"])
    value = dask.config.get(f"kubernetes.{key}", None)
    if value is not None and value != default:
        return value
    old = _of_first_generation(key)
    return default if old is None else old


def _of_first_generation(key: str) -> Any:
    """Return the value of a variable with single underscores, which today is a key of its own."""
    plain = key.replace("-", "_").replace(".", "_")
    for old in (f"kubernetes_{plain}", *_RENAMED.get(key, ())):
        value = dask.config.get(old, None)
        if value is not None:
            new = f"DASK_KUBERNETES__{key.replace('-', '_').replace('.', '__').upper()}"
            warn_user(
                f"DASK_{old.upper()} is an old name: set {new} instead",
                FutureWarning,
            )
            return value
    return None


def configured_flag(key: str) -> bool | None:
    """Return a value that is true or false; ``None`` if there is none.

    Raises
    ------
    ValidationError
        It is something else.
    """
    value = configured(key)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if value is None or isinstance(value, bool):
        return value
    raise ValidationError(f"kubernetes.{key}: {value!r} is neither true nor false")
