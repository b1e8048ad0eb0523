"""The lease of a cluster: as long as the client that made it renews it, the operator keeps it.

A client that was killed cannot delete its cluster. So the cluster has two annotations, how long a
lease lasts and when it was renewed last, and the operator deletes it once the lease has expired.
The times are the API server's: a wrong clock here must not end a cluster.
"""

from __future__ import annotations

import asyncio
import logging
import time
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
#: The API server notes its time in whole seconds, and an answer takes a while.
TOLERANCE = timedelta(seconds=5)


_BEGAN = datetime.now(UTC) - timedelta(seconds=time.monotonic())


def _now() -> datetime:
    """Return the time here, which never jumps: a clock that is set back must not end a cluster."""
    return _BEGAN + timedelta(seconds=time.monotonic())


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
        answer = await self._api.patch(self._ref, body)
        self._offset = (_time_of(answer) or last) - self._now()

    async def renew(self) -> None:
        """Renew it now; once more if the answer shows that this machine has slept meanwhile."""
        for _ in range(2):
            renewed = self._now() + self._offset
            noted = _time_of(await self._write({RENEWED: format_time(renewed)}))
            if noted is None or abs(noted - renewed) <= TOLERANCE:
                return
            self._offset = noted - self._now()

    async def drop(self) -> None:
        """End it without an end of the cluster, which stays from now on."""
        await self._write({DURATION: None, RENEWED: None})

    async def _write(self, annotations: dict[str, str | None]) -> bytes:
        body = {"metadata": {"annotations": annotations}}
        return await self._api.patch(self._ref, body, metadata_only=True)


def _time_of(answer: bytes) -> datetime | None:
    """Return the time of a change by the API server's clock, which its answer notes."""
    entries = mappings(metadata(read_object(answer)).get("managedFields"))
    return max(filter(None, (parse_time(entry.get("time")) for entry in entries)), default=None)
