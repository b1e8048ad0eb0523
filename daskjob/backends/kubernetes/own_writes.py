"""The gate before a pass: whether the cache has seen all that we wrote for this object.

No I/O here. A pass that decides by a cache from before our own writes makes them a second time:
twice the workers, a second verdict. What we write enters the cache with its answer, so that as a
rule there is nothing to wait for. Two things are left.

- **A creation of unknown outcome.** The connection broke after it was sent, or the server timed
  out inside. It may have happened, may not, and may be about to. A cache cannot say which, and a
  GET that finds nothing only says "not yet". To create it again under the same name settles it:
  either it is made now, or the name is taken, and a look tells by whom. Until then no pass may
  run, since for a worker it would think of another name. Patches and deletions need none of this:
  the next pass decides them again, from the same state, and doing so twice does it once.
- **An answer that the cache would not take**, because the object that the server made is not one
  that we watch: some webhook took our label off. Nothing will ever tell of it; after
  ``PATIENCE_SECONDS`` the pass runs all the same, at a pace at which it can do no harm.

A deletion that was answered needs no gate: the cache has let go of the object, or shows it as it
goes, and does not take back what is told of it late.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

from daskjob.backends.kubernetes.cache import Cache
from daskjob.core.manifests import Key, Manifest, controller_uid, object_ref

PATIENCE_SECONDS = 30.0


class OwnWrites:
    """What was written for each key and does not show in the cache; empty nearly always."""

    def __init__(self, cache: Cache, clock: Callable[[], float] = time.monotonic) -> None:
        self._cache = cache
        self._clock = clock
        #: By owner, then by uid: the version that was answered, and when.
        self._unseen: defaultdict[Key, dict[str, tuple[int, float]]] = defaultdict(dict)
        #: By owner, then by kind and name.
        self._unsettled: defaultdict[Key, dict[tuple[str, str], Manifest]] = defaultdict(dict)

    def wrote(self, owner: Key, uid: str, version: int) -> None:
        """Note a write that was answered with an object of this version."""
        if not self._shows(uid, version):
            self._unseen[owner][uid] = (version, self._clock())

    def lost(self, owner: Key, manifest: Manifest) -> None:
        """Note a creation of which nobody knows whether it happened."""
        ref = object_ref(manifest)
        self._unsettled[owner][ref.kind, ref.name] = manifest

    def settled(self, owner: Key, manifest: Manifest) -> None:
        """Note that it is known now what became of a creation."""
        ref = object_ref(manifest)
        if owner in self._unsettled:
            self._unsettled[owner].pop((ref.kind, ref.name), None)

    def unsettled(self, owner: Key) -> list[Manifest]:
        """Return the creations to repeat, under their own names, before a pass may run.

        One that the cache shows by now has happened.
        """
        waiting = self._unsettled.get(owner)
        if not waiting:
            self._unsettled.pop(owner, None)
            return []
        for manifest in list(waiting.values()):
            if self._has_come(manifest):
                self.settled(owner, manifest)
        return list(waiting.values())

    def caught_up(self, owner: Key) -> bool:
        """Say whether the cache shows all that was written for an object."""
        return not self.unsettled(owner) and not self._still_unseen(owner)

    def forget(self, owner: Key) -> None:
        """Let go of an object that is gone: what was made for it goes too."""
        self._unseen.pop(owner, None)
        self._unsettled.pop(owner, None)

    def _still_unseen(self, owner: Key) -> bool:
        waiting = self._unseen.get(owner)
        if waiting is None:
            return False
        given_up = self._clock() - PATIENCE_SECONDS
        for uid, (version, since) in list(waiting.items()):
            if since <= given_up or self._shows(uid, version):
                del waiting[uid]
        if not waiting:
            del self._unseen[owner]
        return bool(waiting)

    def _shows(self, uid: str, version: int) -> bool:
        found = self._cache.of_uid(uid)
        return self._cache.is_gone(uid) if found is None else found.version >= version

    def _has_come(self, manifest: Manifest) -> bool:
        ref = object_ref(manifest)
        found = self._cache.get(ref.kind, ref.namespace, ref.name)
        return found is not None and found.owner_uid == controller_uid(manifest)
