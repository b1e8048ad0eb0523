"""Creates of unknown outcome, which are settled before the next pass over their object.

A pass that decides from a cache older than our own writes would repeat them: twice the workers, a
second verdict. Other controllers remember the resourceVersion of each write and wait for their
watch to reach it. Here the response to a write updates the cache before the writer continues, and
the cache never accepts anything older, deletions included: once a write was answered, the cache
shows it or something newer, and there is no version to wait for.

What remains are writes without a response: the connection broke after the request was sent, or the
server timed out internally. The write may have happened, or not, or may still happen.

- **A patch or a delete** needs no settling. The next pass decides it again from the same state, and
  both are idempotent.
- **A create** does: for a worker, the next pass would choose another name. A GET cannot settle it,
  since a 404 only means "not yet". Creating it again under the same name does: either it is created
  now, or the name is taken, and a GET shows by which object. Until then no pass may run. It is
  never given up because of its age alone.
"""

from __future__ import annotations

from collections import defaultdict

from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.core.manifests import Key, Manifest, controller_uid, object_ref


class UnsettledCreates:
    """Creates of unknown outcome by key; nearly always none."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        #: By owner, then by kind and name.
        self._unsettled: defaultdict[Key, dict[tuple[str, str], Manifest]] = defaultdict(dict)

    def lost(self, owner: Key, manifest: Manifest) -> None:
        """Record a create of unknown outcome."""
        ref = object_ref(manifest)
        self._unsettled[owner][ref.kind, ref.name] = manifest

    def settled(self, owner: Key, manifest: Manifest) -> None:
        """Discard a create whose outcome is known now."""
        ref = object_ref(manifest)
        if owner in self._unsettled:
            self._unsettled[owner].pop((ref.kind, ref.name), None)
            if not self._unsettled[owner]:
                del self._unsettled[owner]

    def unsettled(self, owner: Key) -> list[Manifest]:
        """Return the creates to repeat, under the same names, before a pass may run.

        Creates that the cache shows by now are settled.
        """
        for manifest in list(self._unsettled.get(owner, {}).values()):
            if self._has_come(manifest):
                self.settled(owner, manifest)
        return list(self._unsettled.get(owner, {}).values())

    def forget(self, owner: Key) -> None:
        """Discard the creates for an object that is gone: its dependents are deleted with it."""
        self._unsettled.pop(owner, None)

    def _has_come(self, manifest: Manifest) -> bool:
        ref = object_ref(manifest)
        found = self._cache.get(ref.kind, ref.namespace, ref.name)
        return found is not None and found.owner_uid == controller_uid(manifest)
