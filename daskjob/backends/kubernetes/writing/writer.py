"""Writes of passes to the API server, and the rejections that passes must see.

A write to an object that is gone or has another uid is skipped silently: the next pass sees that.
Rejections are recorded for the object of the pass.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from datetime import datetime

from daskjob.backends.background import Background
from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.backends.kubernetes.watching.items import Item
from daskjob.backends.kubernetes.writing.cached_api import CachedApi
from daskjob.backends.kubernetes.writing.events import event_manifest
from daskjob.backends.kubernetes.writing.recent_events import RecentEvents
from daskjob.backends.rejections import Owner, Rejections
from daskjob.core import names
from daskjob.core.decision import Event, Patch
from daskjob.core.errors import Conflict, CreateRejected, NotFound, RejectionKind, StatusRejected
from daskjob.core.manifests import Key, Manifest, ObjectRef, controller_uid, metadata, object_ref
from daskjob.core.observed import Rejection
from daskjob.core.policies.pacing import next_try
from daskjob.kube.api import Api
from daskjob.kube.errors import AlreadyExists, Replaced

logger = logging.getLogger(__name__)

#: The waits after failed tries to emit an Event, in seconds.
EVENT_WAITS = (2.0, 5.0, 10.0, 10.0, 15.0, 15.0)
#: Events that wait for another try: during an outage each pass may emit some.
MOST_EVENTS_WAITING = 1000


class Writer:
    """Writes for passes; calls ``on_rejected`` with the key of the pass of each rejected object."""

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
        #: Separate, since a pass also looks at the rejections for its object's dependents.
        self.rejected_statuses = Rejections(clock)
        self._api = api
        self._cache = cache
        self._on_rejected = on_rejected
        self._background = background
        self._clock = clock
        #: The Events that were emitted recently.
        self.recent_events = RecentEvents()
        self._events_waiting = 0

    def forget(self, ref: ObjectRef) -> None:
        """Discard the records of an object that is gone."""
        self.rejections.forget((ref.namespace, ref.uid))
        self.rejected_statuses.forget((ref.namespace, ref.uid))
        self.api.unsettled.forget(Key(ref.kind, ref.namespace, ref.name))

    def status_rejection(self, ref: ObjectRef) -> Rejection | None:
        """Return the rejection of an object's status; ``None`` if there is none."""
        found = self.rejected_statuses.of([(ref.namespace, ref.uid)])
        return next(iter(found.values()), None)

    async def create(self, owner: Key, manifest: Manifest) -> None:
        """Create an object; if one of this name has the same controller, that is success.

        Raises
        ------
        CreateRejected
            The server rejected the object, or its name is taken.
        """
        ref = object_ref(manifest)
        recorded_for: Owner = (owner.namespace, controller_uid(manifest))
        try:
            try:
                await self.api.create(owner, manifest)
            except AlreadyExists:
                await self._accept(manifest)
        except CreateRejected as error:
            if self._exists(recorded_for):
                self.rejections.rejected(recorded_for, ref, error)
            self._on_rejected(owner)
            raise
        except NotFound:
            # The namespace is gone, and with it the owner.
            return
        self.rejections.succeeded(recorded_for, ref)

    def _exists(self, owner: Owner) -> bool:
        """Return whether an object still exists: nothing is recorded for one that is gone."""
        found = self._cache.of_uid(owner[1])
        return found is not None and found.ref.namespace == owner[0]

    async def _accept(self, manifest: Manifest) -> None:
        """Accept the existing object of this name, or raise (design §4.2)."""
        ref = object_ref(manifest)
        found = await self.api.look(ref)
        if found is None:
            message = "the previous object of this name was deleted just now"
            raise CreateRejected(RejectionKind.TERMINATING, str(ref), message)
        if found.deleting:
            message = "the previous object of this name is still being deleted"
            raise CreateRejected(RejectionKind.TERMINATING, str(ref), message)
        if found.owner_uid and found.owner_uid == controller_uid(manifest):
            await self._label(found, manifest)
            return
        if found.owner_uid and self._is_no_more(found):
            message = "the existing object has lost its owner and will be deleted"
            raise CreateRejected(RejectionKind.TERMINATING, str(ref), message)
        raise CreateRejected(
            RejectionKind.CONFLICT, str(ref), f"{ref} already exists and is not the job's"
        )

    async def _label(self, found: Item, manifest: Manifest) -> None:
        """Restore the label of our object, without which no watch shows it."""
        label = (manifest["metadata"].get("labels") or {}).get(names.LABEL_CLUSTER_NAME)
        if label and not found.cluster:
            await self.api.label(found.ref, names.LABEL_CLUSTER_NAME, label)

    def _is_no_more(self, found: Item) -> bool:
        """Return whether an object's owner is of our kinds and no longer exists."""
        kinds = {str(kind) for kind in names.Kind}
        return found.owner_kind in kinds and self._cache.owner(found) is None

    async def delete(self, ref: ObjectRef) -> None:
        """Delete an object and its dependents; do nothing if it is gone or has another uid."""
        try:
            await self.api.delete(ref)
        except (NotFound, Replaced):
            return

    async def stop(self, ref: ObjectRef) -> None:
        """Stop a pod but keep its log, by a deadline that has passed."""
        await self.patch(Patch(ref, {"spec": {"activeDeadlineSeconds": 1}}))

    async def patch(self, patch: Patch) -> None:
        """Merge a patch into an object; do nothing if it is gone or has another uid."""
        try:
            await self.api.patch(patch.ref, patch.body)
        except (NotFound, Replaced):
            return
        except Conflict:
            # Only for the version that was observed: the newer one has woken another pass.
            if "resourceVersion" not in metadata(patch.body):
                raise

    async def write_status(self, ref: ObjectRef, status: Manifest) -> None:
        """Write the whole status of an object; do nothing if it is gone.

        Raises
        ------
        StatusRejected
            The server rejected the status.
        """
        owner: Owner = (ref.namespace, ref.uid)
        try:
            await self.api.replace_status(ref, status)
        except (NotFound, Replaced):
            return
        except StatusRejected as error:
            if self._exists(owner):
                self.rejected_statuses.rejected(owner, ref, error)
                self._report_rejected(ref, error)
            raise
        self.rejected_statuses.succeeded(owner, ref)

    def _report_rejected(self, ref: ObjectRef, error: StatusRejected) -> None:
        """Log a rejected status: the status itself cannot show it."""
        rejection = self.status_rejection(ref)
        if rejection is not None:
            wait = (next_try(rejection) - rejection.last_at).total_seconds()
            message = "its status was rejected and stays as it was: %s; trying again in %.0f s"
            key = Key(ref.kind, ref.namespace, ref.name)
            logger.warning(message, error.message, wait, extra={"key": key})

    async def emit(self, ref: ObjectRef, events: Iterable[Event]) -> None:
        """Emit Events on an object in the background, skipping recent duplicates."""
        for event in self.recent_events.record_new(ref.uid, events):
            manifest = event_manifest(ref, event, self._clock(), secrets.token_hex(8))
            self._background(self._emit(manifest))

    async def _emit(self, event: Manifest) -> None:
        """Emit an Event, again if it was rejected: for a minute, since that may be a fault."""
        waits = iter(EVENT_WAITS)
        while await self._api.emit(event) and self._events_waiting < MOST_EVENTS_WAITING:
            if (wait := next(waits, None)) is None:
                return
            self._events_waiting += 1
            try:
                await asyncio.sleep(wait)
            finally:
                self._events_waiting -= 1
