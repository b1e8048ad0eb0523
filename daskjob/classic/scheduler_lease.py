"""Ends a scheduler whose client is gone: the text of this file runs in the scheduler's process.

The client renews a lease by calling ``daskjob_renew``. When it expires, the scheduler deletes its
own pod, and Kubernetes deletes what the pod owns: workers, Service, PodDisruptionBudget. Without
the right to do that, it only ends; its workers end for lack of a scheduler, and the next cluster of
the namespace deletes what is left.

It imports the standard library and distributed only, and never makes a scheduler fail.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
import urllib.request
from typing import Any

logger = logging.getLogger("distributed.scheduler")

_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
_TRIES = 3


def dask_setup(scheduler: Any) -> None:
    """Start to watch the lease; distributed calls this."""
    seconds = float(os.environ.get("DASKJOB_LEASE_SECONDS") or 0)
    if seconds <= 0:
        return
    renewed = [time.monotonic()]

    def renew() -> None:
        renewed[0] = time.monotonic()

    scheduler.handlers["daskjob_renew"] = renew
    scheduler._daskjob_lease = asyncio.ensure_future(_watch(scheduler, renewed, seconds))


async def _watch(scheduler: Any, renewed: list[float], seconds: float) -> None:
    while True:
        left = renewed[0] + seconds - time.monotonic()
        if left <= 0:
            break
        await asyncio.sleep(left)
    logger.warning("The client of this cluster is gone for %g s: closing", seconds)
    for wait in range(_TRIES):
        try:
            await asyncio.get_running_loop().run_in_executor(None, _delete_pod)
            break
        except Exception as error:
            logger.info("The pod is not deleted by its scheduler: %s", error)
            if getattr(error, "code", 0) in (401, 403, 404):
                break
            await asyncio.sleep(1 + wait)
    await scheduler.close()


def _delete_pod() -> None:
    with open(f"{_FOLDER}/token") as file:
        token = file.read().strip()
    with open(f"{_FOLDER}/namespace") as file:
        namespace = file.read().strip()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(f"{_FOLDER}/ca.crt")
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    request = urllib.request.Request(
        f"{server}/api/v1/namespaces/{namespace}/pods/{os.environ['DASKJOB_POD']}",
        headers={"Authorization": f"Bearer {token}"},
        method="DELETE",
    )
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    opener.open(request, timeout=10).close()
