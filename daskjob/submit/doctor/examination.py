"""Examines a namespace of a cluster; findings are passed on as they come."""

from __future__ import annotations

from collections.abc import Callable

from daskjob.core.errors import DaskJobError
from daskjob.kube.api import Api
from daskjob.kube.credentials import find_credentials
from daskjob.kube.patience import Patience
from daskjob.submit import sync
from daskjob.submit.doctor.cluster.ground import Ground
from daskjob.submit.doctor.cluster_checks import Wanted, cluster_checks
from daskjob.submit.doctor.finding import Finding
from daskjob.submit.installing.cluster_objects import ClusterObjects


def examine_cluster(
    context: str,
    namespace: str,
    wanted: Wanted,
    found: Callable[[Finding], None],
    *,
    patience: Patience | None = None,
) -> None:
    """Check a namespace, by default that of the context."""

    async def check() -> None:
        credentials = find_credentials(None, context or None)
        async with Api(credentials, patience=patience) as api:
            place = namespace
            if not place:
                try:
                    place = await credentials.namespace()
                except DaskJobError:
                    # The first check reports what is wrong with them.
                    place = "default"
            ground = Ground(api, credentials, ClusterObjects(api), place, context)
            async for finding in cluster_checks(ground, wanted):
                found(finding)

    sync.run(check, name="doctor")
