"""Calls that block: they need an event loop in another thread, and none that runs around them."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from daskjob.kubecluster.errors import BlockingCall


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
