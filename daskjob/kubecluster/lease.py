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
from daskjob.core.manifests import (
    Manifest,
    ObjectRef,
    format_time,
    mapping,
    mappings,
    metadata,
    parse_time,
    whole_number,
)
from daskjob.kube.api import Api
from daskjob.kube.decoding import read_object
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


def seconds_of(cluster: Manifest) -> int:
    """Return how long a lease of a cluster lasts; 0: it has none."""
    noted = mapping(metadata(cluster).get("annotations"))
    return whole_number(str(noted.get(DURATION, ""))) or 0


class Lease:
    """The lease of one cluster, which every client of it renews, whichever created it.

    So the cluster of a program that was killed stays while others, or the same program started
    again, work with it.
    """

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
        self._cluster = cluster
        made = parse_time(metadata(cluster).get("creationTimestamp"))
        #: What the API server's clock is ahead of this machine's.
        self._offset = (made - now()) if made else timedelta()

    async def keep(self, *, found: bool = False) -> None:
        """Renew it until the cluster is gone, or this task is cancelled.

        The lease of a cluster that was ``found`` may be about to expire.
        """
        while True:
            if not found:
                await asyncio.sleep(self._seconds / PARTS)
            try:
                if found:
                    await self._read_clock()
                found = False
                await self.renew()
            except (NotFound, Replaced):
                return
            except DaskJobError as error:
                logger.debug("the lease of %s was not renewed: %s", self._ref.name, error)

    async def _read_clock(self) -> None:
        """Find out the time of the API server, which notes it with each change of an object."""
        meta = metadata(self._cluster)
        noted = mapping(meta.get("annotations"))
        last = parse_time(noted.get(RENEWED)) or parse_time(meta.get("creationTimestamp"))
        if last is None:
            return
        body = {"metadata": {"annotations": {RENEWED: format_time(last + timedelta(seconds=1))}}}
        answer = metadata(read_object(await self._api.patch(self._ref, body)))
        times = [parse_time(entry.get("time")) for entry in mappings(answer.get("managedFields"))]
        self._offset = max(filter(None, times), default=last) - self._now()

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
