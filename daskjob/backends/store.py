"""An object store in memory with the rules of an API server: uids, owners, garbage collection.

For the backends without an API server: this machine and the fake. No claim of a test about
Kubernetes relies on it.
"""

from __future__ import annotations

import copy
import itertools
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime

from daskjob.core.errors import Conflict, CreateRejected, NotFound, RejectionKind
from daskjob.core.manifests import (
    Key,
    Manifest,
    ObjectRef,
    controller_uid,
    format_time,
    metadata,
    object_ref,
)

#: Called after every change with the old and the new object; ``None`` where there is none.
Watcher = Callable[[Manifest | None, Manifest | None], None]


class ObjectStore:
    """The objects of one backend.

    Returned objects belong to the store: copy one before you change it.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._objects: dict[Key, Manifest] = {}
        self._versions = itertools.count(1)
        self._watchers: list[Watcher] = []
        #: Kinds whose deletion takes time: objects are terminating until ``remove`` is called.
        self.slow_to_delete: set[str] = set()
        #: While true, dependents of deleted owners stay: garbage collection is not instant.
        self.collection_paused = False

    def watch(self, watcher: Watcher) -> None:
        """Call the watcher after every change from now on."""
        self._watchers.append(watcher)

    def get(self, key: Key) -> Manifest | None:
        """Return an object, or ``None``."""
        return self._objects.get(key)

    def found(self, ref: ObjectRef) -> Manifest | None:
        """Return the object of a reference if it still has that uid."""
        item = self._objects.get(Key(ref.kind, ref.namespace, ref.name))
        if item is None or (ref.uid and metadata(item).get("uid") != ref.uid):
            return None
        return item

    def all(self, namespace: str | None = None) -> Iterator[Manifest]:
        """Yield every object, of one namespace or of all."""
        for key, item in list(self._objects.items()):
            if namespace is None or key.namespace == namespace:
                yield item

    def create(self, manifest: Manifest) -> Manifest:
        """Add an object; return it, or the existing one if that has the same controller.

        Raises
        ------
        CreateRejected
            The name is taken (``Conflict``), or by a terminating object (``Terminating``).
        """
        ref = object_ref(manifest)
        key = Key(ref.kind, ref.namespace, ref.name)
        existing = self._objects.get(key)
        if existing is not None:
            return self._same_or_rejected(existing, manifest, ref)
        item = copy.deepcopy(manifest)
        meta = item.setdefault("metadata", {})
        meta.setdefault("namespace", ref.namespace)
        meta.setdefault("uid", str(uuid.uuid4()))
        meta["creationTimestamp"] = format_time(self._clock())
        meta["generation"] = 1
        meta["resourceVersion"] = str(next(self._versions))
        self._objects[key] = item
        self._notify(None, item)
        return item

    def _same_or_rejected(self, existing: Manifest, manifest: Manifest, ref: ObjectRef) -> Manifest:
        meta, owner = metadata(existing), controller_uid(existing)
        if meta.get("deletionTimestamp"):
            message = "the previous object of this name is still being deleted"
            raise CreateRejected(RejectionKind.TERMINATING, str(ref), message)
        if owner and owner == controller_uid(manifest):
            return existing
        if owner and not any(metadata(o).get("uid") == owner for o in self._objects.values()):
            message = "the existing object has lost its owner and will be deleted"
            raise CreateRejected(RejectionKind.TERMINATING, str(ref), message)
        raise CreateRejected(
            RejectionKind.CONFLICT, str(ref), f"{ref} already exists and is not the job's"
        )

    def delete(self, ref: ObjectRef) -> None:
        """Delete an object and its dependents; ignore one that is gone or has another uid."""
        item = self.found(ref)
        if item is None:
            return
        if ref.kind in self.slow_to_delete or metadata(item).get("finalizers"):
            if not metadata(item).get("deletionTimestamp"):
                mark = {"deletionTimestamp": format_time(self._clock())}
                self._change(item, {"metadata": {**mark, "deletionGracePeriodSeconds": 0}})
            return
        self.remove(ref)

    def remove(self, ref: ObjectRef) -> None:
        """Remove an object from the store, and delete its dependents."""
        item = self.found(ref)
        if item is None:
            return
        del self._objects[Key(ref.kind, ref.namespace, ref.name)]
        self._notify(item, None)
        if not self.collection_paused:
            self.collect()

    def collect(self) -> None:
        """Delete every object whose owners are all gone."""
        uids = {metadata(item).get("uid") for item in self._objects.values()}
        for item in list(self._objects.values()):
            owners = metadata(item).get("ownerReferences") or ()
            if owners and not any(owner.get("uid") in uids for owner in owners):
                self.delete(object_ref(item))

    def patch(self, ref: ObjectRef, body: Manifest) -> Manifest:
        """Merge a patch into an object; null removes a field.

        Raises
        ------
        NotFound
            The object is gone.
        Conflict
            Its ``resourceVersion`` differs from the patch's.
        """
        item = self.found(ref)
        if item is None:
            raise NotFound(f"{ref} does not exist")
        version = metadata(body).get("resourceVersion")
        if version is not None and version != metadata(item)["resourceVersion"]:
            raise Conflict(f"{ref} has changed since it was read")
        changed = self._change(item, body)
        meta = metadata(changed)
        held = ref.kind in self.slow_to_delete or meta.get("finalizers")
        if meta.get("deletionTimestamp") and not held:
            self.remove(ref)
        return changed

    def write_status(self, ref: ObjectRef, status: Manifest) -> None:
        """Replace an object's status; ignore an object that is gone."""
        item = self.found(ref)
        if item is not None:
            self._replace(item, {**item, "status": copy.deepcopy(status)})

    def _change(self, item: Manifest, body: Manifest) -> Manifest:
        changed = _merged(item, body)
        if changed.get("spec") != item.get("spec"):
            meta = {**metadata(changed), "generation": metadata(item).get("generation", 0) + 1}
            changed = {**changed, "metadata": meta}
        return self._replace(item, changed)

    def _replace(self, old: Manifest, new: Manifest) -> Manifest:
        new = {**new, "metadata": {**metadata(new), "resourceVersion": str(next(self._versions))}}
        ref = object_ref(old)
        self._objects[Key(ref.kind, ref.namespace, ref.name)] = new
        self._notify(old, new)
        return new

    def _notify(self, old: Manifest | None, new: Manifest | None) -> None:
        for watcher in self._watchers:
            watcher(old, new)


def _merged(target: Manifest, body: Manifest) -> Manifest:
    """Return the object with a JSON merge patch applied (RFC 7386), as Kubernetes does."""
    merged = dict(target)
    for key, value in body.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            below = merged.get(key)
            merged[key] = _merged(below if isinstance(below, dict) else {}, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged
