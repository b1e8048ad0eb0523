"""Creations of unknown outcome, which are settled before the next pass over their object.

A pass that decides by a cache from before our own writes makes them a second time: twice the
workers, a second verdict. Other controllers remember the resourceVersion of each write and wait
for their watch to reach it. Here the answer to a write enters the cache before the writer goes on,
and the cache never takes anything older back, deletions included: once a write was answered, the
cache shows it or something newer, and there is no version left to wait for.

What is left is a write that was not answered: the connection broke after it was sent, or the
server timed out inside. It may have happened, may not, and may be about to.

- **A patch or a deletion** needs no settling. The next pass decides it again, from the same state,
  and doing so twice does it once.
- **A creation** does: for a worker the next pass would think of another name. A GET cannot settle
  it, since one that finds nothing only says "not yet". To create it again under the same name
  does: either it is made now, or the name is taken, and a look tells by whom. Until that is known
  no pass may run. It is never given up by time alone.
"""

from __future__ import annotations

from collections import defaultdict

from daskjob.backends.kubernetes.watching.cache import Cache
from daskjob.core.manifests import Key, Manifest, controller_uid, object_ref


class UnsettledCreates:
    """Creations of each key of which nobody knows whether they happened; nearly always none."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        #: By owner, then by kind and name.
        self._unsettled: defaultdict[Key, dict[tuple[str, str], Manifest]] = defaultdict(dict)

    def lost(self, owner: Key, manifest: Manifest) -> None:
        """Note a creation of which nobody knows whether it happened."""
        ref = object_ref(manifest)
        self._unsettled[owner][ref.kind, ref.name] = manifest

    def settled(self, owner: Key, manifest: Manifest) -> None:
        """Note that it is known now what became of a creation."""
        ref = object_ref(manifest)
        if owner in self._unsettled:
            self._unsettled[owner].pop((ref.kind, ref.name), None)
            if not self._unsettled[owner]:
                del self._unsettled[owner]

    def unsettled(self, owner: Key) -> list[Manifest]:
        """Return the creations to repeat, under their own names, before a pass may run.

        One that the cache shows by now has happened.
        """
        for manifest in list(self._unsettled.get(owner, {}).values()):
            if self._has_come(manifest):
                self.settled(owner, manifest)
        return list(self._unsettled.get(owner, {}).values())

    def forget(self, owner: Key) -> None:
        """Let go of an object that is gone: what was made for it goes too."""
        self._unsettled.pop(owner, None)

    def _has_come(self, manifest: Manifest) -> bool:
        ref = object_ref(manifest)
        found = self._cache.get(ref.kind, ref.namespace, ref.name)
        return found is not None and found.owner_uid == controller_uid(manifest)
