"""What the first generation of ``KubeCluster`` (dask-kubernetes 0.2 to 0.9) documented.

Functions of values, for every class of this package that takes such a pod template or variable.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import dask.config

from daskjob.classic.commands import modernise
from daskjob.classic.models import manifest_of
from daskjob.core.command_line import words
from daskjob.core.manifests import Manifest
from daskjob.core.warn import warn_user

#: Keys that had another name.
_RENAMED = {"name": "worker-name"}
#: As the documentation spelled a variable that Dask reads as ``DASK_DIAGNOSTICS_LINK``.
_MISSPELLED = "DASK_DIANGOSTICS_LINK"


def old_variable(key: str) -> Any:
    """Return the value of ``DASK_KUBERNETES_<KEY>`` for ``kubernetes.<key>``, with a warning.

    ``None``: it is not set. Dask reads such a variable, with one underscore, as a key of its own.
    """
    for name in (key, _RENAMED.get(key)):
        if not name or "." in name:
            continue
        plain = f"kubernetes_{name.replace('-', '_')}"
        found = dask.config.get(plain, default=None)
        if found is not None:
            today = f"DASK_KUBERNETES__{key.replace('-', '_').upper()}"
            warn_user(
                f"the variable DASK_{plain.upper()} still counts; its name today is {today}",
                FutureWarning,
            )
            return found
    return None


def dashboard_link_template(environment: Mapping[str, str] = os.environ) -> str:
    """Return the template of links to the dashboard; the page misspelled its variable once."""
    misspelled = environment.get(_MISSPELLED)
    default = "{scheme}://{host}:{port}/status"
    return misspelled or str(dask.config.get("distributed.dashboard.link", default=default))


def worker_spec(pod_template: Any) -> Manifest:
    """Return the ``worker`` part of a DaskCluster (``{metadata, spec}``) for a pod template.

    Its first container is named ``worker``, which the operator treats as the main one, and its
    command is today's (``dask worker``, ``--no-dashboard``). The address of the scheduler need not
    be among the arguments: Dask reads it from ``DASK_SCHEDULER_ADDRESS``, which the operator sets.
    A restart policy is left out: the operator replaces workers that ended.

    Raises
    ------
    ValueError
        It has no containers.
    """
    from daskjob.classic.templates import read_template

    manifest: Manifest = manifest_of(read_template(pod_template))
    spec = {name: value for name, value in manifest["spec"].items() if name != "restartPolicy"}
    first, *others = spec["containers"]
    first = {**first, "name": "worker"}
    modernise(first)
    if not words(first):
        first["args"] = ["dask", "worker"]
    first["args"] = _named(first.get("args") or [], words(first))
    meta = {k: v for k, v in manifest.get("metadata", {}).items() if k in ("labels", "annotations")}
    return {"metadata": meta, "spec": {**spec, "containers": [first, *others]}}


def _named(args: list[str], command: list[str]) -> list[str]:
    """Return the arguments with the worker's name, by which the operator knows it."""
    if any(word.partition("=")[0] == "--name" for word in command):
        return args
    return [*args, "--name", "$(DASK_WORKER_NAME)"]


def workers_at(addresses: Iterable[str], workers: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    """Return the names of the workers at these addresses; a name stands for itself.

    ``workers`` is that of ``scheduler_info``: a worker for each address. An address may lack the
    protocol or the port, as the first generation compared them: ``10.0.0.7``.
    """
    return [_name_at(address, workers) for address in addresses]


def _name_at(address: Any, workers: Mapping[str, Mapping[str, Any]]) -> Any:
    if address in workers:
        return workers[address].get("name")
    for known, worker in workers.items():
        if isinstance(address, str) and address in (known.partition("://")[2], _host(known)):
            return worker.get("name")
    return address


def _host(address: str) -> str:
    return urlsplit(address).hostname or ""


def total(n: int, present: int, maximum: int | None) -> int:
    """Return the number of workers after ``scale_up(n)``: at least n in total, never fewer."""
    wanted = max(int(n), present)
    return wanted if maximum is None else max(min(wanted, maximum), present)
