"""Writes whose answers enter the cache at once, so that the next pass sees what the last one did.

A creation takes the key of the pass that it is for: ``settle`` finds out what became of those
whose outcome is unknown (see ``unsettled``). Rejections are the caller's to judge; a 404 or a uid
conflict also updates the cache: the object is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.watching.items import Item, ItemDecoder, still_there
from daskjob.backends.kubernetes.watching.kinds import watched_kind
from daskjob.backends.kubernetes.writing.unsettled import UnsettledCreates
from daskjob.core import names
from daskjob.core.errors import CreateRejected, NotFound, RejectionKind
from daskjob.core.manifests import (
    Key,
    Manifest,
    ObjectRef,
    controller_uid,
    metadata,
    object_ref,
)
from daskjob.kube.api import Api
from daskjob.kube.errors import AlreadyExists, OutcomeUnknown, Replaced, UnexpectedObject


class CachedApi:
    """The API with the cache beside it."""

    def __init__(self, api: Api, cache: Cache, unsettled: UnsettledCreates | None = None) -> None:
        self.api = api
        self.cache = cache
        self.unsettled = unsettled or UnsettledCreates(cache)

    async def create(self, owner: Key, manifest: Manifest) -> Item:
        """Create an object; errors as of ``Api.create``.

        One whose outcome is unknown is kept for ``settle``, with the error raised all the same.

        Raises
        ------
        Refused
            Also where the server made something that we could not watch, or not know as ours,
            because somebody takes labels or owners off: it is deleted again, where we may. A pass
            that never sees what it made would make more and more of it.
        """
        ref = object_ref(manifest)
        try:
            item = _decoded(ref.kind, await self.api.create(manifest, metadata_only=_bare(ref)))
        except (OutcomeUnknown, UnexpectedObject, asyncio.CancelledError):
            self.unsettled.lost(owner, manifest)
            raise
        if _is_as_asked(item, manifest):
            return self._kept(item)
        if watched_kind(ref.kind).goes_with_owner:
            raise _changed(ref, "" if item.owner_uid else _ownerless(ref))
        with suppress(NotFound, Replaced):
            await self.delete(item.ref)
        raise _changed(ref)

    async def patch(self, ref: ObjectRef, body: Manifest) -> Item:
        """Merge a patch into an object; errors as of ``Api.patch``."""
        with self._learning(ref):
            data = await self.api.patch(ref, body, metadata_only=_bare(ref))
            return self._kept(_decoded(ref.kind, data))

    async def label(self, ref: ObjectRef, label: str, value: str) -> Item:
        """Give an object a label by which it is watched; errors as of ``Api.patch``.

        Raises
        ------
        Refused
            Somebody takes it off at once.
        """
        item = await self.patch(ref, {"metadata": {"labels": {label: value}}})
        if not item.cluster:
            raise _changed(ref)
        return item

    async def replace_status(self, ref: ObjectRef, status: Manifest) -> Item:
        """Replace an object's status; errors as of ``Api.replace_status``."""
        with self._learning(ref):
            return self._kept(_decoded(ref.kind, await self.api.replace_status(ref, status)))

    async def delete(self, ref: ObjectRef, *, grace_seconds: int | None = None) -> None:
        """Delete an object; errors as of ``Api.delete``."""
        with self._learning(ref):
            data = await self.api.delete(ref, grace_seconds=grace_seconds, metadata_only=_bare(ref))
        if still_there(data):
            self._kept(_decoded(ref.kind, data))
        else:
            self.cache.remove(ref)

    async def look(self, ref: ObjectRef) -> Item | None:
        """Return an object by its name as the server has it now, past the cache.

        What cannot be watched, because a label of ours is missing, is returned but not kept.
        """
        before = self.cache.get(ref.kind, ref.namespace, ref.name)
        try:
            data = await self.api.get(ref, metadata_only=_bare(ref))
        except NotFound:
            if before is not None:
                self.cache.remove(before.ref)
            return None
        return self._kept(_decoded(ref.kind, data))

    async def settle(self, owner: Key) -> None:
        """Find out what became of the creations of this key whose outcome is unknown.

        Raises
        ------
        ApiError
            It is not known yet, and no pass over this key may run.
        """
        for manifest in self.unsettled.unsettled(owner):
            try:
                await self.create(owner, manifest)
            except (AlreadyExists, CreateRejected):
                # Refused may mean that it exists: it is itself what fills the quota.
                await self.look(object_ref(manifest))
            except NotFound:
                # Its namespace is gone.
                pass
            self.unsettled.settled(owner, manifest)

    def _kept(self, item: Item) -> Item:
        """Let the cache have an object, unless no watch would ever tell of its end."""
        if item.cluster or not watched_kind(item.ref.kind).selector:
            self.cache.put(item)
        return item

    @contextmanager
    def _learning(self, ref: ObjectRef) -> Iterator[None]:
        """Let the cache know where the server says that no object of this uid is left."""
        try:
            yield
        except (NotFound, Replaced):
            if ref.uid:
                self.cache.remove(ref)
            raise


_TAKEN_OFF = (
    f"something in this cluster changes what is created: the label {names.LABEL_CLUSTER_NAME} or "
    "the owner was not as it was asked for. Look for a mutating webhook or policy"
)


def _changed(ref: ObjectRef, more: str = "") -> CreateRejected:
    return CreateRejected(RejectionKind.REJECTED, str(ref), _TAKEN_OFF + more)


def _ownerless(ref: ObjectRef) -> str:
    """Return what to do about an object that nobody deletes when all else goes."""
    return f", then kubectl delete --namespace {ref.namespace} {ref.kind.lower()} {ref.name}"


def _bare(ref: ObjectRef) -> bool:
    """Return whether answers need no more than the object's metadata."""
    return watched_kind(ref.kind).metadata_only


def _decoded(kind: str, data: bytes) -> Item:
    return ItemDecoder(watched_kind(kind)).item(data)


def _is_as_asked(item: Item, manifest: Manifest) -> bool:
    label = (metadata(manifest).get("labels") or {}).get(names.LABEL_CLUSTER_NAME, "")
    return item.cluster == label and item.owner_uid == controller_uid(manifest)
