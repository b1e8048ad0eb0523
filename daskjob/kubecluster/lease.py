"""The lease of a cluster: as long as the client that made it renews it, the operator keeps it.

A client that was killed cannot delete its cluster. So the cluster has two annotations, how long a
lease lasts and when it was renewed last, and the operator deletes it once the lease has expired.
The times are the API server's: a wrong clock here must not end a cluster.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from daskjob.core import names
from daskjob.core.errors import DaskJobError, NotFound
from daskjob.core.manifests import Manifest, ObjectRef, format_time, metadata, parse_time
from daskjob.kube.api import Api
from daskjob.kube.errors import Replaced

logger = logging.getLogger("daskjob")

DURATION = names.ANNOTATION_LEASE_DURATION
RENEWED = names.ANNOTATION_LEASE_RENEW_TIME
#: How many times a lease is renewed while it lasts.
PARTS = 3


def _now() -> datetime:
    return datetime.now(UTC)


def first_annotations(seconds: int) -> dict[str, str]:
    """Return the annotations of a new cluster; none if 0 seconds turn the lease off.

    The first lease counts from the creation: the API server's clock is not known before.
    """
    return {DURATION: str(seconds)} if seconds else {}


class Lease:
    """The lease of one cluster that was created here."""

    def __init__(
        self,
        api: Api,
        cluster: Manifest,
        ref: ObjectRef,
        seconds: int,
        *,
        now: Callable[[], datetime] = _now,
    ) -> None:
        self._api = api
        self._ref = ref
        self._seconds = seconds
        self._now = now
        made = parse_time(metadata(cluster).get("creationTimestamp"))
        #: What the API server's clock is ahead of this machine's.
        self._offset = (made - now()) if made else timedelta()

    async def keep(self) -> None:
        """Renew it until the cluster is gone, or this task is cancelled."""
        while True:
            await asyncio.sleep(self._seconds / PARTS)
            try:
                await self.renew()
            except (NotFound, Replaced):
                return
            except DaskJobError as error:
                logger.debug("the lease of %s was not renewed: %s", self._ref.name, error)

    async def renew(self) -> None:
        """Renew it now."""
        renewed = format_time(self._now() + self._offset)
        await self._write({RENEWED: renewed})

    async def drop(self) -> None:
        """End it without an end of the cluster, which stays from now on."""
        await self._write({DURATION: None, RENEWED: None})

    async def _write(self, annotations: dict[str, str | None]) -> None:
        body = {"metadata": {"annotations": annotations}}
        await self._api.patch(self._ref, body, metadata_only=True)
