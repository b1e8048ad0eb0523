"""What calls are possible: which arguments there are, in which loop, and for how long."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from daskjob.kubecluster.errors import BlockingCall, ClusterClosed

_ARGUMENTS = (
    "name",
    "namespace",
    "image",
    "n_workers",
    "resources",
    "env",
    "worker_command",
    "port_forward_cluster_ip",
    "create_mode",
    "shutdown_on_close",
    "idle_timeout",
    "resource_timeout",
    "scheduler_service_type",
    "custom_cluster_spec",
    "scheduler_forward_port",
    "comm_forward_port",
    "jupyter",
)


def known_arguments() -> tuple[str, ...]:
    """Return the names of the arguments that a configuration may have too."""
    return _ARGUMENTS


def check_loop(*, asynchronous: bool, loop: Any) -> None:
    """Reject a blocking start inside a running loop, which would run nothing else meanwhile.

    In a notebook, the kernel's loop runs around each cell, and users expect to wait there.

    Raises
    ------
    BlockingCall
        With the asynchronous form.
    """
    if asynchronous:
        return
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        return
    given = getattr(loop, "asyncio_loop", loop)
    if given is running or not _is_notebook():
        raise BlockingCall(
            "KubeCluster() would block the running event loop: use "
            "'async with KubeCluster(asynchronous=True) as cluster:'"
        )


def _is_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and shell.get_ipython() is not None


def closed_error(name: str, what: str = "is closed; create a new KubeCluster") -> ClusterClosed:
    """Return the error for a cluster that can do nothing any more."""
    return ClusterClosed(f"cluster {name} {what}")
