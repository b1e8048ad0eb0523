"""An informer keeps the cache true for one kind: it lists, then watches, for ever.

A list is a whole truth, of one moment; a watch tells what has changed since. What a watch cannot
go on with, a list mends: after it, what the list does not have is gone from the cache, whoever
failed to say so. An informer never ends by itself, and whatever the server answers it sends no
more than one request a second, ever fewer while none succeeds (the further pages of a list apart).
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.watching.items import Change, ItemDecoder
from daskjob.backends.kubernetes.watching.kinds import WATCHED, Watched
from daskjob.core.errors import ApiError, DaskJobError, Forbidden
from daskjob.kube.api import Api
from daskjob.kube.errors import Expired, NoSuchResource, WatchFailed

logger = logging.getLogger(__name__)

GONE = 410


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient an informer is. In seconds."""

    #: Without a byte for so long a watch is dead: the server sends a bookmark each minute.
    idle: float = 70.0
    #: After so long the server ends a watch; each one takes somewhat less, so that the watches of
    #: all kinds do not end together.
    duration: float = 600.0
    #: The least time from one request to the next, and the most between failing ones: recovery
    #: from an outage takes no longer (15 s).
    shortest: float = 1.0
    longest: float = 12.0
    #: A watch that lasted so long was none that failed, even if it told nothing.
    sound: float = 10.0


PACE = Pace()
#: Objects on one page of a list: 500 pods are 3 MB, and 25 ms of nothing else.
PAGE_LIMIT = 500
#: After so many watches in a row that told nothing, a list may know more.
FRUITLESS_WATCHES = 2

#: Told the kind of each watch that broke; takes no time and never fails.
OnWatchBroken = Callable[[str], None]


def ignore_broken_watch(_kind: str) -> None:
    """Tell nobody."""


class Informer:
    """Keeps the cache true for the objects of one kind, in one namespace or in all."""

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
        #: Set once the cache has all that there was at one moment.
        self.synced = asyncio.Event()
        #: When the server was last heard of, by the clock: a list, or a byte of a watch.
        self.last_heard = clock()
        #: What went wrong last; ``None`` while all is well.
        self.trouble: DaskJobError | None = None
        #: How often it listed and watched, for metrics and for tests.
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
        #: From where to watch on; ``None``: list first.
        self._version: int | None = None
        #: Failures in a row, and watches in a row that told nothing.
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
        """Wait: after a failure ever longer and not all at once, and never so short as to spin."""
        wait = self._asked_at + self._pace.shortest - self._clock()
        if self._failures:
            wait = min(self._pace.shortest * 2.0 ** (self._failures - 1), self._pace.longest)
            wait *= random.uniform(1.0, 1.25)
        if wait > 0:
            await asyncio.sleep(wait)

    async def _list(self) -> int:
        """Take in all that there is, page by page; return the version from which to watch on."""
        self._asked_at = self._clock()
        self.lists += 1
        seen: set[str] = set()
        proceed = ""
        while True:
            page = self._decoder.page(
                await self._api.list_page(self._selection, limit=self._page_limit, proceed=proceed)
            )
            self.last_heard = self._clock()
            for item in page.items:
                seen.add(item.ref.uid)
                self._cache.put(item)
            proceed = page.proceed
            if not proceed:
                break
        # Deletions that no watch told us of. What came after the list is newer, and stays.
        self._cache.keep_only(self.watched.kind, self.namespace, seen, page.version)
        self._fruitless = 0
        self.synced.set()
        return page.version

    async def _watched(self, version: int) -> None:
        """Watch once; one that the server ends in its time is renewed, and did not break."""
        try:
            await self._watch(version)
        except DaskJobError:
            self._on_watch_broken(self.watched.kind)
            raise

    async def _watch(self, version: int) -> None:
        """Take in what changes from a version on, until the server ends the watch."""
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
            raise ApiError("the watch ended at once, and told nothing")

    def _take(self, change: Change) -> None:
        """Take in one line of a watch."""
        self.last_heard = self._clock()
        self._fruitless = 0
        self._succeeded()
        if change.gone is not None:
            self._cache.remove(change.gone, change.version)
        if change.item is not None:
            self._cache.put(change.item)
        self._version = max(change.version, self._version or 0)

    def _succeeded(self) -> None:
        if self.trouble is not None:
            logger.info("%s: watched again", self)
        self._failures = 0
        self.trouble = None

    def _failed(self, error: DaskJobError) -> None:
        """Decide how to go on: watch again from where it broke, or list."""
        if self.trouble is None or str(self.trouble) != str(error):
            logger.warning("%s: %s; trying again", self, error)
        self.trouble = error
        self._failures += 1
        if _needs_list(error) or self._fruitless >= FRUITLESS_WATCHES:
            self._version = None


def _needs_list(error: DaskJobError) -> bool:
    """Say whether a watch cannot go on from its version, now or ever."""
    if isinstance(error, WatchFailed):
        return error.code == GONE
    return isinstance(error, Expired | NoSuchResource | Forbidden)


def informers(
    api: Api,
    cache: Cache,
    namespaces: Iterable[str] = (),
    on_watch_broken: OnWatchBroken = ignore_broken_watch,
) -> list[Informer]:
    """Return the informers of all that passes look at, in these namespaces or everywhere."""
    where: Sequence[str | None] = tuple(namespaces) or (None,)
    return [
        Informer(api, cache, watched, namespace=namespace, on_watch_broken=on_watch_broken)
        for watched in WATCHED
        for namespace in where
    ]
