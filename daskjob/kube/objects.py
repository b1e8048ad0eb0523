"""Decoded objects of one API server: get, list, and watch a few of them. For clients.

A watch yields the existing objects, then every change, and continues by itself. When the server
ends a watch normally, it is resumed from its resourceVersion. After any error it relists and
compares the list with what was yielded, so that no change is missed. Deletion and re-creation under
one name are two changes with different uids, even if both happened between two watches.

The operator has informers and a cache instead, for thousands of objects.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import msgspec

from daskjob.core.errors import ApiError, NotFound
from daskjob.core.manifests import Manifest, ObjectRef, metadata, object_ref
from daskjob.kube.api import Api
from daskjob.kube.decoding import (
    BOOKMARK,
    DELETED,
    read_line,
    read_object,
    read_page,
    version_number,
)
from daskjob.kube.errors import (
    Expired,
    NoSuchResource,
    Throttled,
    Unanswered,
    UnexpectedObject,
    Unreachable,
    WatchFailed,
)
from daskjob.kube.requests import TRIES
from daskjob.kube.resources import Resource, Selection, resource_of

logger = logging.getLogger(__name__)

#: Objects on one page of a list.
PAGE_LIMIT = 500
#: A paged list is started again if its continue token expires.
LIST_TRIES = 3
#: Transient errors. ``NoSuchResource`` is one only for a kind that was served before: just after
#: its start, the server does not serve custom resources yet.
TRANSIENT = (
    Expired,
    NoSuchResource,
    Throttled,
    Unanswered,
    Unreachable,
    UnexpectedObject,
    WatchFailed,
)


@dataclass(frozen=True, slots=True)
class ObjectList:
    """Objects as they were at one moment."""

    items: tuple[Manifest, ...]
    #: The resourceVersion of that moment: a watch from it shows every later change.
    version: int


@dataclass(frozen=True, slots=True)
class Change:
    """An object that appeared, changed, or is gone; ``ref.uid`` distinguishes it from namesakes."""

    ref: ObjectRef
    #: The object as it is, or as it was last; ``None`` if it is gone and no watch event showed it.
    manifest: Manifest | None
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Pace:
    """The waits of a watch, in seconds."""

    #: A watch that is silent for longer is broken: the server sends a bookmark each minute.
    idle: float = 70.0
    #: The server ends a watch after this time; then it is resumed.
    duration: float = 300.0
    #: The wait after the first failure; doubled after each further one, up to ``longest``.
    shortest: float = 0.5
    longest: float = 15.0
    #: A watch that lasted this long did not fail, even without events.
    sound: float = 10.0


PACE = Pace()


async def get_object(api: Api, ref: ObjectRef) -> Manifest:
    """Return an object by its name.

    Raises
    ------
    NotFound
        It does not exist, or has another uid than ``ref``.
    """
    found = _with_kind(resource_of(ref.kind), await api.get(ref))
    if ref.uid and object_ref(found).uid != ref.uid:
        raise NotFound(f"{ref} is gone; another object has its name now")
    return found


async def list_objects(api: Api, selection: Selection) -> ObjectList:
    """Return all selected objects, in one consistent state.

    Raises
    ------
    NoSuchResource
        The server does not serve this kind: the CRDs are not installed.
    ApiError
        There was no response, even after retries.
    """
    for _ in range(LIST_TRIES - 1):
        try:
            return await _list(api, selection)
        except Expired:
            continue
    return await _list(api, selection)


async def _list(api: Api, selection: Selection) -> ObjectList:
    items: list[Manifest] = []
    proceed = ""
    while True:
        data = await api.list_page(selection, limit=PAGE_LIMIT, proceed=proceed, tries=TRIES)
        page = read_page(data, selection.resource.plural)
        items += [_with_kind(selection.resource, raw) for raw in page.items]
        proceed = page.proceed
        if not proceed:
            return ObjectList(tuple(items), page.version)


@asynccontextmanager
async def watching(
    api: Api, selection: Selection, *, since: ObjectList | None = None, pace: Pace = PACE
) -> AsyncIterator[AsyncIterator[Change]]:
    """Watch the selected objects: the existing ones, then every change, indefinitely.

    ``selection_of`` selects a single object. With ``since``, a list that the caller has, the
    iterator skips its first list and yields only differences from ``since``. The connection is
    closed with the context.

    For its first list the iterator raises what ``list_objects`` raises; later only permanent
    errors, such as ``Forbidden``. Put ``asyncio.timeout`` around the whole loop: cancelling a step
    ends the iterator.
    """
    watch = ObjectWatch(api, selection, since=since, pace=pace)
    async with aclosing(watch.changes()) as changes:
        yield changes


class ObjectWatch:
    """A watch of a few objects that continues after transient errors."""

    def __init__(
        self,
        api: Api,
        selection: Selection,
        *,
        since: ObjectList | None = None,
        pace: Pace = PACE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        #: The resourceVersion up to which changes were yielded; ``None``: list first.
        self.version = since.version if since else None
        self._api = api
        self._selection = selection
        self._pace = pace
        self._clock = clock
        #: The resourceVersion of each object that was yielded, by its reference.
        self._known = {object_ref(item): _version(item) for item in since.items} if since else {}
        self._listed = since is not None
        #: Consecutive failures.
        self._failures = 0

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Yield the existing objects, then every change; raises like ``watching``."""
        while True:
            try:
                if self.version is None:
                    for change in self._differences(await list_objects(self._api, self._selection)):
                        yield change
                async with aclosing(self._watch()) as changes:
                    async for change in changes:
                        yield change
            except TRANSIENT as error:
                if not self._listed:
                    raise
                await self._back_off(error)

    async def _watch(self) -> AsyncGenerator[Change, None]:
        """Yield the changes since the version, until the server ends the watch."""
        assert self.version is not None
        started = self._clock()
        # Spread: the watches of all clients should not end at once.
        duration = max(round(self._pace.duration * random.uniform(0.8, 1.0)), 1)
        try:
            async with self._api.watch(
                self._selection,
                self.version,
                idle_seconds=self._pace.idle,
                duration_seconds=duration,
            ) as lines:
                async for data in lines:
                    change = self._change(data)
                    self._failures = 0
                    if change is not None:
                        yield change
        finally:
            if self._clock() - started >= self._pace.sound:
                self._failures = 0
        # The server's clock may differ by a second.
        if self._clock() - started < duration - 1.0:
            raise Unanswered(f"watch of {self._selection}: the server ended it early")

    def _change(self, data: bytes) -> Change | None:
        """Return the change in a line of the watch; ``None``: a bookmark, or already yielded."""
        line = read_line(data)
        if line.type == BOOKMARK:
            self.version = line.version
            return None
        manifest = _with_kind(self._selection.resource, line.object)
        self.version = line.version
        ref = object_ref(manifest)
        if line.type == DELETED:
            self._known.pop(ref, None)
            return Change(ref, manifest, gone=True)
        if self._known.get(ref) == line.version:
            return None
        self._known[ref] = line.version
        return Change(ref, manifest)

    def _differences(self, found: ObjectList) -> Iterator[Change]:
        """Yield the differences between a list and what was yielded before, deletions first.

        Each is recorded as it is yielded: a caller that stops midway misses nothing.
        """
        listed = {object_ref(item): item for item in found.items}
        for ref in [known for known in self._known if known not in listed]:
            del self._known[ref]
            yield Change(ref, None, gone=True)
        for ref, manifest in listed.items():
            version = _version(manifest)
            if self._known.get(ref) != version:
                self._known[ref] = version
                yield Change(ref, manifest)
        self.version = found.version
        self._listed = True

    async def _back_off(self, error: ApiError) -> None:
        """Wait before the next list: exponential back-off with jitter."""
        self.version = None
        self._failures += 1
        wait = min(self._pace.shortest * 2.0 ** min(self._failures - 1, 30), self._pace.longest)
        wait *= random.uniform(0.5, 1.0)
        logger.debug("%s; listing again in %.1f s", error, wait)
        await asyncio.sleep(wait)


def _with_kind(resource: Resource, data: bytes | msgspec.Raw) -> Manifest:
    """Return an object with its apiVersion and kind, which items of a list lack."""
    found = read_object(data)
    return {**found, "apiVersion": resource.api_version, "kind": resource.kind}


def _version(manifest: Manifest) -> int:
    return version_number(str(metadata(manifest).get("resourceVersion", "")))
