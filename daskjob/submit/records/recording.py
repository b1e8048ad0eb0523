"""Records what was submitted; no failure of it is one of the submission."""

from __future__ import annotations

import os
from pathlib import Path

from daskjob.core.manifests import Manifest
from daskjob.kube.credentials import SERVICE_ACCOUNT
from daskjob.kube.kubeconfig_files import kubeconfig_files, selected
from daskjob.submit.jobs import JobRef
from daskjob.submit.records.record import ClusterAddress, record_of
from daskjob.submit.records.store import Records


def cluster_address(context: str = "", kubeconfig: str = "") -> ClusterAddress:
    """Return how this process reaches a cluster: the context that is the current one today.

    Raises
    ------
    ValueError
        There is no usable kubeconfig.
    """
    named = kubeconfig or os.environ.get("KUBECONFIG") or context
    if not named and (SERVICE_ACCOUNT / "token").exists():
        return ClusterAddress()
    files = [str(file.absolute()) for file in kubeconfig_files(kubeconfig or None)]
    name = context or selected(kubeconfig or None, None).context.name
    return ClusterAddress(name, os.pathsep.join(files))


def recorded(
    sent: Manifest,
    ref: JobRef,
    *,
    context: str = "",
    kubeconfig: str = "",
    env_file: str = "",
    records: Records | None = None,
) -> str:
    """Record a job that was sent; return why that was not possible, empty if it was."""
    try:
        address = cluster_address(context, kubeconfig)
        file = str(Path(env_file).expanduser().absolute()) if env_file else ""
        (records or Records()).add(record_of(sent, ref, address, env_file=file))
    except OSError as error:
        return error.strerror or type(error).__name__
    except (ValueError, RecursionError) as error:
        return str(error) or type(error).__name__
    return ""
