"""Writes whose responses update the cache at once, so that the next pass sees them.

A create takes the key of its pass: ``settle`` finds out the outcome of creates where that is
unknown (see ``unsettled``). The caller handles rejections; a 404 or a uid conflict also updates the
cache: the object is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.watching.items import Item, ItemDecoder, is_terminating
from daskjob.backends.kubernetes.watching.kinds import watched_kind
from daskjob.backends.kubernetes.writing.image_volumes import ImageVolumes
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
    """The API together with the cache."""

    def __init__(self, api: Api, cache: Cache, unsettled: UnsettledCreates | None = None) -> None:
        self.api = api
        self.cache = cache
        self.unsettled = unsettled or UnsettledCreates(cache)
        self._image_volumes = ImageVolumes(api)

    async def create(self, owner: Key, manifest: Manifest) -> Item:
        """Create an object; errors as of ``Api.create``.

        If the outcome is unknown, the create is also recorded for ``settle``.

        Raises
        ------
        CreateRejected
            Also if a webhook or policy removed labels or owners, so that we could not watch the
            object, or not recognize it as ours. It is deleted again, if we may: a pass that never
            sees its own objects would create more and more. And if the server would drop the image
            volumes of a pod.
        """
        ref = object_ref(manifest)
        await self._image_volumes.check(manifest)
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
        """Set the label by which an object is watched; errors as of ``Api.patch``.

        Raises
        ------
        CreateRejected
            A webhook or policy removed it at once.
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
        if is_terminating(data):
            self._kept(_decoded(ref.kind, data))
        else:
            self.cache.remove(ref)

    async def look(self, ref: ObjectRef) -> Item | None:
        """Return the object of this name as the server has it now, without the cache.

        An object that cannot be watched, because it lacks our label, is not cached.
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
        """Find out the outcome of the creates of this key where it is unknown.

        Raises
        ------
        ApiError
            It is still unknown, and no pass over this key may run.
        """
        for manifest in self.unsettled.unsettled(owner):
            try:
                await self.create(owner, manifest)
            except (AlreadyExists, CreateRejected):
                # A rejected one may exist: the object itself may have used up the quota.
                await self.look(object_ref(manifest))
            except NotFound:
                # Its namespace is gone.
                pass
            self.unsettled.settled(owner, manifest)

    def _kept(self, item: Item) -> Item:
        """Cache an object, unless no watch would ever report its deletion."""
        if item.cluster or not watched_kind(item.ref.kind).selector:
            self.cache.put(item)
        return item

    @contextmanager
    def _learning(self, ref: ObjectRef) -> Iterator[None]:
        """Update the cache if the server reports that the object of this uid is gone."""
        try:
            yield
        except (NotFound, Replaced):
            if ref.uid:
                self.cache.remove(ref)
            raise


_TAKEN_OFF = (
    f"something in this cluster modifies created objects: the label {names.LABEL_CLUSTER_NAME} or "
    "the owner is not as requested. Look for a mutating webhook or policy"
)


def _changed(ref: ObjectRef, more: str = "") -> CreateRejected:
    return CreateRejected(RejectionKind.REJECTED, str(ref), _TAKEN_OFF + more)


def _ownerless(ref: ObjectRef) -> str:
    """Return what to do about an object that is not garbage collected."""
    return f", then kubectl delete --namespace {ref.namespace} {ref.kind.lower()} {ref.name}"


def _bare(ref: ObjectRef) -> bool:
    """Return whether responses need only the object's metadata."""
    return watched_kind(ref.kind).metadata_only


def _decoded(kind: str, data: bytes) -> Item:
    return ItemDecoder(watched_kind(kind)).item(data)


def _is_as_asked(item: Item, manifest: Manifest) -> bool:
    label = (metadata(manifest).get("labels") or {}).get(names.LABEL_CLUSTER_NAME, "")
    return item.cluster == label and item.owner_uid == controller_uid(manifest)
