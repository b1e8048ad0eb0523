"""Objects in memory, kept as an API server keeps them: uids, owners, garbage collection.

For worlds that have no API server: this machine and the fake. It decides nothing that a test
claims about Kubernetes; it gives the passes the objects that they are about.
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

#: Called after every change with the object as it was and as it is; ``None`` for not there.
Watcher = Callable[[Manifest | None, Manifest | None], None]


class ObjectStore:
    """The objects of one world.

    Objects that are returned are the store's own: read them, and copy before you change one.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._objects: dict[Key, Manifest] = {}
        self._versions = itertools.count(1)
        self._watchers: list[Watcher] = []
        #: Kinds whose deletion takes time: they stay, marked, until ``remove`` is called.
        self.slow_to_go: set[str] = set()
        #: While true, children of deleted owners stay, as garbage collection is not instant.
        self.collection_paused = False

    def watch(self, watcher: Watcher) -> None:
        """Call the watcher after every change from now on."""
        self._watchers.append(watcher)

    def get(self, key: Key) -> Manifest | None:
        """Return an object, or ``None``."""
        return self._objects.get(key)

    def found(self, ref: ObjectRef) -> Manifest | None:
        """Return the object of a reference, where it is still the one with that uid."""
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
        """Add an object; return it, or the one that is there where it has the same controller.

        Raises
        ------
        Refused
            The name is taken (``Conflict``), or its holder is about to go (``Terminating``).
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
        self._tell(None, item)
        return item

    def _same_or_rejected(self, existing: Manifest, manifest: Manifest, ref: ObjectRef) -> Manifest:
        meta, owner = metadata(existing), controller_uid(existing)
        if meta.get("deletionTimestamp"):
            raise CreateRejected(RejectionKind.TERMINATING, str(ref), "the old one is still going")
        if owner and owner == controller_uid(manifest):
            return existing
        if owner and not any(metadata(o).get("uid") == owner for o in self._objects.values()):
            raise CreateRejected(
                RejectionKind.TERMINATING, str(ref), "its owner is gone, it is going too"
            )
        raise CreateRejected(
            RejectionKind.CONFLICT, str(ref), f"{ref} already exists and is not the job's"
        )

    def delete(self, ref: ObjectRef) -> None:
        """Delete an object and what it owns; one that is gone, or another one, is left alone."""
        item = self.found(ref)
        if item is None:
            return
        if ref.kind in self.slow_to_go or metadata(item).get("finalizers"):
            if not metadata(item).get("deletionTimestamp"):
                mark = {"deletionTimestamp": format_time(self._clock())}
                self._change(item, {"metadata": {**mark, "deletionGracePeriodSeconds": 0}})
            return
        self.remove(ref)

    def remove(self, ref: ObjectRef) -> None:
        """Take an object away for good, and delete what it owns."""
        item = self.found(ref)
        if item is None:
            return
        del self._objects[Key(ref.kind, ref.namespace, ref.name)]
        self._tell(item, None)
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
        """Merge a patch into an object, null removing a field.

        Raises
        ------
        NotFound
            The object is gone.
        Conflict
            It is not of the ``resourceVersion`` that the patch names.
        """
        item = self.found(ref)
        if item is None:
            raise NotFound(f"{ref} does not exist")
        version = metadata(body).get("resourceVersion")
        if version is not None and version != metadata(item)["resourceVersion"]:
            raise Conflict(f"{ref} has changed since it was seen")
        changed = self._change(item, body)
        meta = metadata(changed)
        held = ref.kind in self.slow_to_go or meta.get("finalizers")
        if meta.get("deletionTimestamp") and not held:
            self.remove(ref)
        return changed

    def write_status(self, ref: ObjectRef, status: Manifest) -> None:
        """Replace an object's status; one that is gone is left alone."""
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
        self._tell(old, new)
        return new

    def _tell(self, old: Manifest | None, new: Manifest | None) -> None:
        for watcher in self._watchers:
            watcher(old, new)


def _merged(target: Manifest, body: Manifest) -> Manifest:
    """Return a JSON merge patch applied (RFC 7386), as Kubernetes applies it."""
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
