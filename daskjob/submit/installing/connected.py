"""A connection for one command that asks about, or changes, objects of any kind."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from daskjob.kube.api import Api
from daskjob.kube.credentials import find_credentials
from daskjob.kube.patience import Patience
from daskjob.submit import sync
from daskjob.submit.installing.cluster_objects import ClusterObjects


def with_cluster(
    context: str,
    use: Callable[[ClusterObjects], Coroutine[Any, Any, None]],
    *,
    name: str,
    patience: Patience | None = None,
) -> None:
    """Connect to the cluster of a context, by default the current one, and use it."""

    async def connected() -> None:
        async with Api(find_credentials(None, context or None), patience=patience) as api:
            await use(ClusterObjects(api))

    sync.run(connected, name=name)
