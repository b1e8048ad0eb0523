"""Annotate every Dask scheduler's Service with a host name, which ExternalDNS publishes.

https://kubernetes-sigs.github.io/external-dns reads it from an annotation of the Service. The
operator loads this module at start, because the package declares it as an entry point of the group
``dask_operator_plugin``. A plugin may use all features of kopf.
"""

import logging
import os
from collections.abc import Mapping
from typing import Any

import kopf

ANNOTATION = "external-dns.alpha.kubernetes.io/hostname"
DOMAIN = os.environ.get("DASK_DNS_DOMAIN", "dask.example.com")


@kopf.on.create("service", labels={"dask.org/component": "scheduler"})
async def name_the_scheduler(
    meta: Mapping[str, Any],
    namespace: str | None,
    patch: kopf.Patch,
    logger: logging.Logger | logging.LoggerAdapter[Any],
    **_: Any,
) -> None:
    """Set the Service's annotation, unless it has one already."""
    if ANNOTATION in meta.get("annotations", {}):
        return
    cluster = meta["labels"]["dask.org/cluster-name"]
    host = f"{cluster}.{namespace}.{DOMAIN}"
    patch.metadata.annotations[ANNOTATION] = host
    logger.info("the scheduler of %s is %s", cluster, host)
