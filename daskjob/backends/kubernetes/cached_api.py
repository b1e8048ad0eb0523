"""Writes whose answers enter the cache at once, so that the next pass sees what the last one did.

Every method takes the key of the pass that writes: ``caught_up`` says of it whether the cache
shows all that it wrote (see ``own_writes``). What the server says no to is the caller's to judge;
what its noes tell about the world, an object that is gone, the cache learns here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from daskjob.backends.kubernetes.answers import AlreadyExists, OutcomeUnknown, Replaced
from daskjob.backends.kubernetes.api import Api
from daskjob.backends.kubernetes.cache import Cache
from daskjob.backends.kubernetes.items import Item, ItemDecoder, still_there
from daskjob.backends.kubernetes.own_writes import OwnWrites
from daskjob.backends.kubernetes.resources import resource_of
from daskjob.core.errors import NotFound, Refused
from daskjob.core.manifests import Key, Manifest, ObjectRef, object_ref


class CachedApi:
    """The API with the cache beside it."""

    def __init__(self, api: Api, cache: Cache, own_writes: OwnWrites | None = None) -> None:
        self.api = api
        self.cache = cache
        self.own_writes = own_writes or OwnWrites(cache)

    async def create(self, owner: Key, manifest: Manifest) -> Item:
        """Create an object; errors as of ``Api.create``.

        One whose outcome is unknown is kept for ``settle``, with the error raised all the same.
        """
        try:
            data = await self.api.create(manifest)
        except OutcomeUnknown:
            self.own_writes.lost(owner, manifest)
            raise
        return self._written(owner, object_ref(manifest).kind, data)

    async def patch(self, owner: Key, ref: ObjectRef, body: Manifest) -> Item:
        """Merge a patch into an object; errors as of ``Api.patch``."""
        with self._learning(ref):
            return self._written(owner, ref.kind, await self.api.patch(ref, body))

    async def replace_status(self, owner: Key, ref: ObjectRef, status: Manifest) -> Item:
        """Replace an object's status; errors as of ``Api.replace_status``."""
        with self._learning(ref):
            return self._written(owner, ref.kind, await self.api.replace_status(ref, status))

    async def delete(self, owner: Key, ref: ObjectRef, *, grace_seconds: int | None = None) -> None:
        """Delete an object; errors as of ``Api.delete``."""
        with self._learning(ref):
            data = await self.api.delete(ref, grace_seconds=grace_seconds)
        if still_there(data):
            self._written(owner, ref.kind, data)
        else:
            self.cache.remove(ref)

    async def look(self, ref: ObjectRef) -> Item | None:
        """Return an object by its name as the server has it now, past the cache.

        What cannot be watched, because a label of ours is missing, is returned but not kept.
        """
        before = self.cache.get(ref.kind, ref.namespace, ref.name)
        try:
            data = await self.api.get(ref)
        except NotFound:
            if before is not None:
                self.cache.remove(before.ref)
            return None
        item = ItemDecoder(resource_of(ref.kind)).item(data)
        self._keep(item)
        return item

    async def settle(self, owner: Key) -> None:
        """Find out what became of the creations of this key whose outcome is unknown.

        Raises
        ------
        ApiError
            It is not known yet; ``caught_up`` stays false.
        """
        for manifest in self.own_writes.unsettled(owner):
            try:
                await self.create(owner, manifest)
            except (AlreadyExists, Refused):
                # Refused may mean that it exists: it is itself what fills the quota.
                await self.look(object_ref(manifest))
            except NotFound:
                # Its namespace is gone.
                pass
            self.own_writes.settled(owner, manifest)

    def caught_up(self, owner: Key) -> bool:
        """Say whether the cache shows all that was written for an object."""
        return self.own_writes.caught_up(owner)

    def _written(self, owner: Key, kind: str, data: bytes) -> Item:
        item = ItemDecoder(resource_of(kind)).item(data)
        self._keep(item)
        self.own_writes.wrote(owner, item.ref.uid, item.version)
        return item

    def _keep(self, item: Item) -> None:
        """Let the cache have an object, unless no watch would ever tell of its end."""
        if item.cluster or not resource_of(item.ref.kind).selector:
            self.cache.put(item)

    @contextmanager
    def _learning(self, ref: ObjectRef) -> Iterator[None]:
        """Let the cache know where the server says that no object of this uid is left."""
        try:
            yield
        except (NotFound, Replaced):
            if ref.uid:
                self.cache.remove(ref)
            raise
