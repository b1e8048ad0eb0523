"""Discovery of clusters for dask-ctl: the entry point group ``dask_cluster_discovery``.

dask-ctl imports this module first, and then gives each cluster 5 s: so nothing is imported later.
Where the packages for Kubernetes are missing, dask-ctl leaves it out.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

from daskjob.core.errors import DaskJobError, Forbidden
from daskjob.dask_tools.discovered import class_in
from daskjob.kubecluster.cluster import KubeCluster
from daskjob.submit.clusters.client import AsyncClusterClient
from daskjob.submit.clusters.cluster import Cluster

logger = logging.getLogger("daskjob")


async def discover() -> AsyncIterator[tuple[str, type[KubeCluster]]]:
    """Yield the name of each DaskCluster, with a class whose ``from_name`` finds it.

    Those of all namespaces that the user may list, else those of the user's own. Where there is no
    Kubernetes there are none: dask-ctl asks every tool that is installed.
    """
    try:
        found = await _clusters()
    except DaskJobError as error:
        logger.warning("no clusters are discovered: %s", error)
        return
    for cluster in found:
        yield cluster.name, class_in(cluster.ref.namespace)


async def _clusters() -> tuple[Cluster, ...]:
    async with AsyncClusterClient() as client:
        try:
            return await client.list(all_namespaces=True)
        except Forbidden:
            return await client.list()
