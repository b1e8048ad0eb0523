"""What passes write to the API server, and what becomes of it that they must know: refusals.

An object that is gone, or another one under its name, is left alone without a word: the next pass
sees that. What the server says no to is remembered for the object that asked.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable
from datetime import datetime

from daskjob.backends.background import Background
from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.watching.items import Item
from daskjob.backends.kubernetes.writing.cached_api import CachedApi
from daskjob.backends.kubernetes.writing.events import event_manifest
from daskjob.backends.kubernetes.writing.told_events import ToldEvents
from daskjob.backends.rejections import Rejections
from daskjob.core import names
from daskjob.core.decision import Event, Patch
from daskjob.core.errors import Conflict, CreateRejected, NotFound, RejectionKind, StatusRejected
from daskjob.core.manifests import Key, Manifest, ObjectRef, controller_uid, metadata, object_ref
from daskjob.core.observed import Rejection
from daskjob.core.policies.pacing import next_status_try
from daskjob.kube.api import Api
from daskjob.kube.errors import AlreadyExists, Replaced

logger = logging.getLogger(__name__)


class Writer:
    """Writes for passes; ``on_rejected`` hears the key of each object that was told no."""

    def __init__(
        self,
        api: Api,
        cache: Cache,
        on_rejected: Callable[[Key], None],
        background: Background,
        clock: Callable[[], datetime],
    ) -> None:
        self.api = CachedApi(api, cache)
        self.rejections = Rejections(clock)
        #: Apart, since a pass looks at the refusals of all that its object owns.
        self.rejected_statuses = Rejections(clock)
        self._api = api
        self._cache = cache
        self._on_rejected = on_rejected
        self._background = background
        self._clock = clock
        #: The Events that were told of late.
        self.told = ToldEvents()

    def forget(self, key: Key) -> None:
        """Let go of an object that is gone."""
        self.rejections.forget(key)
        self.rejected_statuses.forget(key)
        self.api.unsettled.forget(key)

    def status_rejection(self, key: Key) -> Rejection | None:
        """Return why an object's status could not be written; ``None``: it could."""
        return next(iter(self.rejected_statuses.of([key]).values()), None)

    async def create(self, owner: Key, manifest: Manifest) -> None:
        """Create an object; one of this name with the same controller is success.

        Raises
        ------
        Refused
            The server said no to the object, or its name is taken.
        """
        ref = object_ref(manifest)
        try:
            try:
                await self.api.create(owner, manifest)
            except AlreadyExists:
                await self._accept(manifest)
        except CreateRejected as error:
            self.rejections.rejected(owner, ref, error)
            self._on_rejected(owner)
            raise
        except NotFound:
            # The namespace is gone, and the object that this was for.
            return
        self.rejections.succeeded(owner, ref)

    async def _accept(self, manifest: Manifest) -> None:
        """Judge the object that has our object's name (design §4.2)."""
        ref = object_ref(manifest)
        found = await self.api.look(ref)
        if found is None:
            raise CreateRejected(RejectionKind.TERMINATING, str(ref), "the old one went just now")
        if found.deleting:
            raise CreateRejected(RejectionKind.TERMINATING, str(ref), "the old one is still going")
        if found.owner_uid and found.owner_uid == controller_uid(manifest):
            await self._label(found, manifest)
            return
        if found.owner_uid and self._is_no_more(found):
            raise CreateRejected(
                RejectionKind.TERMINATING, str(ref), "its owner is gone, it is going too"
            )
        raise CreateRejected(
            RejectionKind.CONFLICT, str(ref), f"{ref} already exists and is not the job's"
        )

    async def _label(self, found: Item, manifest: Manifest) -> None:
        """Give an object of ours its label back, without which no watch shows it."""
        label = (manifest["metadata"].get("labels") or {}).get(names.LABEL_CLUSTER_NAME)
        if label and not found.cluster:
            await self.api.label(found.ref, names.LABEL_CLUSTER_NAME, label)

    def _is_no_more(self, found: Item) -> bool:
        """Say whether an object's owner, one of our kinds, exists no more."""
        kinds = {str(kind) for kind in names.Kind}
        return found.owner_kind in kinds and self._cache.of_uid(found.owner_uid) is None

    async def delete(self, ref: ObjectRef) -> None:
        """Delete an object and what it owns; one that is gone, or another one, is left alone."""
        try:
            await self.api.delete(ref)
        except (NotFound, Replaced):
            return

    async def stop(self, ref: ObjectRef) -> None:
        """Stop a pod so that its log stays: its deadline is now."""
        await self.patch(Patch(ref, {"spec": {"activeDeadlineSeconds": 1}}))

    async def patch(self, patch: Patch) -> None:
        """Merge a patch into an object; one that is gone, or another one, is left alone."""
        try:
            await self.api.patch(patch.ref, patch.body)
        except (NotFound, Replaced):
            return
        except Conflict:
            # What is only for the object as it was seen: its change calls for another pass.
            if "resourceVersion" not in metadata(patch.body):
                raise

    async def write_status(self, ref: ObjectRef, status: Manifest) -> None:
        """Write the whole status of an object; one that is gone is left alone.

        Raises
        ------
        StatusRejected
            The server said no to what it says.
        """
        key = Key(ref.kind, ref.namespace, ref.name)
        try:
            await self.api.replace_status(ref, status)
        except (NotFound, Replaced):
            return
        except StatusRejected as error:
            self.rejected_statuses.rejected(key, ref, error)
            self._report_rejected(key, error)
            raise
        self.rejected_statuses.succeeded(key, ref)

    def _report_rejected(self, key: Key, error: StatusRejected) -> None:
        """Say in the log what cannot be said on the object: its status is what was refused."""
        rejection = self.status_rejection(key)
        if rejection is not None:
            wait = (next_status_try(rejection) - rejection.last_at).total_seconds()
            words = "its status was refused: %s; it stays as it is, trying again in %.0f s"
            logger.warning(words, error.words, wait, extra={"key": key})

    async def emit(self, ref: ObjectRef, events: Iterable[Event]) -> None:
        """Tell events of an object, each once in a while; nobody waits for that."""
        for event in self.told.news(ref.uid, events):
            told = event_manifest(ref, event, self._clock(), secrets.token_hex(8))
            self._background(self._api.tell(told))
