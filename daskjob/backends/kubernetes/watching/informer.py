"""Informers: each keeps the cache in sync for one kind, by a list and then watches, indefinitely.

A list is the complete state at one moment; a watch reports the changes since. If a watch cannot be
resumed, a list replaces it: objects missing from it are removed from the cache, even if no watch
event reported their deletion. An informer never ends by itself. Whatever the server answers, it
sends at most one request per second, and fewer while requests fail (further pages of a list
excepted).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.watching.continuity import Continuity
from daskjob.backends.kubernetes.watching.items import Change, ItemDecoder
from daskjob.backends.kubernetes.watching.kinds import WATCHED, Watched
from daskjob.core.errors import ApiError, DaskJobError, Forbidden
from daskjob.kube.api import Api
from daskjob.kube.errors import (
    Expired,
    NoSuchResource,
    Throttled,
    UnexpectedObject,
    WatchFailed,
)

logger = logging.getLogger(__name__)

GONE = 410


@dataclass(frozen=True, slots=True)
class Pace:
    """The waits of an informer, in seconds."""

    #: A watch that is silent for longer is broken: the server sends a bookmark each minute.
    idle: float = 70.0
    #: The server ends a watch after this time; each asks for somewhat less, so that the watches of
    #: all kinds do not end together.
    duration: float = 600.0
    #: The shortest time between requests, and the longest between failing ones: it bounds the
    #: recovery from an outage (15 s).
    shortest: float = 1.0
    longest: float = 12.0
    #: A watch that lasted this long did not fail, even without events.
    sound: float = 10.0


PACE = Pace()
#: Objects on one page of a list: 500 pods are 3 MB, and block the event loop for 25 ms.
PAGE_LIMIT = 500
#: Relist after this number of consecutive watches without events.
FRUITLESS_WATCHES = 2

#: Called with the kind of each watch that broke; must be quick and never fail.
OnWatchBroken = Callable[[str], None]


def ignore_broken_watch(_kind: str) -> None:
    """Do nothing."""


class Informer:
    """Keeps the cache in sync for the objects of one kind, in one namespace or in all."""

    def __init__(
        self,
        api: Api,
        cache: Cache,
        watched: Watched,
        *,
        namespace: str | None = None,
        pace: Pace = PACE,
        page_limit: int = PAGE_LIMIT,
        clock: Callable[[], float] = time.monotonic,
        on_watch_broken: OnWatchBroken = ignore_broken_watch,
    ) -> None:
        self.watched = watched
        self.namespace = namespace
        #: Set after the first complete list.
        self.synced = asyncio.Event()
        #: When the server last answered, by the clock: a list, or a line of a watch.
        self.last_heard = clock()
        #: The same, including answers such as a 403: the server is there, and so are we.
        self.last_answered = self.last_heard
        #: The current failure; ``None`` after a success.
        self.trouble: DaskJobError | None = None
        self.continuity = Continuity()
        #: The number of lists and watches, for metrics and tests.
        self.lists = 0
        self.watches = 0
        self._api = api
        self._cache = cache
        self._pace = pace
        self._page_limit = page_limit
        self._clock = clock
        self._on_watch_broken = on_watch_broken
        self._selection = watched.within(namespace)
        self._decoder = ItemDecoder(watched)
        #: The resourceVersion to watch from; ``None``: list first.
        self._version: int | None = None
        #: Consecutive failures, and consecutive watches without events.
        self._failures = 0
        self._fruitless = 0
        self._asked_at = float("-inf")

    def __str__(self) -> str:
        where = f"namespace {self.namespace}" if self.namespace else "all namespaces"
        return f"{self.watched.resource.plural} of {where}"

    async def run(self) -> None:
        """List and watch until cancelled."""
        while True:
            await self._keep_pace()
            try:
                if self._version is None:
                    self._version = await self._list()
                await self._watched(self._version)
            except DaskJobError as error:
                self._failed(error)

    async def _keep_pace(self) -> None:
        """Wait before the next request: a minimum, and after failures a back-off with jitter."""
        wait = self._asked_at + self._pace.shortest - self._clock()
        if self._failures:
            wait = min(self._pace.shortest * 2.0 ** (self._failures - 1), self._pace.longest)
            wait *= random.uniform(1.0, 1.25)
        if wait > 0:
            await asyncio.sleep(wait)

    async def _list(self) -> int:
        """List all objects into the cache, page by page; return the version to watch from."""
        self._asked_at = self._clock()
        self.lists += 1
        seen: set[str] = set()
        proceed = ""
        while True:
            page = self._decoder.page(
                await self._api.list_page(self._selection, limit=self._page_limit, proceed=proceed)
            )
            self._heard()
            for item in page.items:
                seen.add(item.ref.uid)
                self._cache.put(item)
            proceed = page.proceed
            if not proceed:
                break
        # Deletions that no watch reported. Objects that are newer than the list stay.
        self._cache.keep_only(self.watched.kind, self.namespace, seen, page.version)
        self._fruitless = 0
        self.synced.set()
        return page.version

    async def _watched(self, version: int) -> None:
        """Watch once; a watch that the server ends after its duration counts as unbroken."""
        try:
            await self._watch(version)
        except DaskJobError:
            self._on_watch_broken(self.watched.kind)
            raise

    async def _watch(self, version: int) -> None:
        """Apply the changes since a version to the cache, until the server ends the watch."""
        self._asked_at = self._clock()
        self.watches += 1
        async with self._api.watch(
            self._selection,
            version,
            idle_seconds=self._pace.idle,
            duration_seconds=round(self._pace.duration * random.uniform(0.8, 1.0)),
        ) as lines:
            self._fruitless += 1
            async for line in lines:
                self._take(self._decoder.change(line, self._cache.knows))
        if self._fruitless and self._clock() - self._asked_at < self._pace.sound:
            raise ApiError("the watch ended at once, without an event")

    def _take(self, change: Change) -> None:
        """Apply one line of a watch."""
        self._heard()
        self._fruitless = 0
        self._succeeded()
        if change.gone is not None:
            self._cache.remove(change.gone, change.version)
        if change.item is not None:
            self._cache.put(change.item)
        self._version = max(change.version, self._version or 0)

    def _heard(self) -> None:
        self.last_heard = self.last_answered = self._clock()
        self.continuity.heard()

    def _succeeded(self) -> None:
        if self.trouble is not None:
            logger.info("%s: watching again", self)
        self._failures = 0
        self.trouble = None

    def _failed(self, error: DaskJobError) -> None:
        """Record a failure, and relist if the watch cannot be resumed."""
        if self.trouble is None or str(self.trouble) != str(error):
            logger.warning("%s: %s; trying again", self, error)
        self.trouble = error
        self.continuity.broken()
        self._failures += 1
        if _is_answer(error):
            self.last_answered = self._clock()
        if _needs_list(error) or self._fruitless >= FRUITLESS_WATCHES:
            self._version = None


def _needs_list(error: DaskJobError) -> bool:
    """Return whether a watch cannot be resumed from its version."""
    if isinstance(error, WatchFailed):
        return error.code == GONE
    return isinstance(error, Expired | NoSuchResource | Forbidden)


def _is_answer(error: DaskJobError) -> bool:
    """Return whether the server decided this: a restart of this process would change nothing."""
    return _needs_list(error) or isinstance(error, WatchFailed | Throttled | UnexpectedObject)


def informers(
    api: Api,
    cache: Cache,
    namespaces: Iterable[str] = (),
    on_watch_broken: OnWatchBroken = ignore_broken_watch,
) -> list[Informer]:
    """Return the informers of all watched kinds, in these namespaces or in all."""
    where: Sequence[str | None] = tuple(namespaces) or (None,)
    return [
        Informer(api, cache, watched, namespace=namespace, on_watch_broken=on_watch_broken)
        for watched in WATCHED
        for namespace in where
    ]
