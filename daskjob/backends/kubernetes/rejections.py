"""Objects that the API server refused: in whose pass, who said no, since when. No I/O here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from daskjob.core.errors import CreateRejected
from daskjob.core.manifests import Key, ObjectRef
from daskjob.core.observed import Rejection


class Rejections:
    """What was refused and has not succeeded since, by the key of the pass that asked."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._by_key: dict[Key, dict[str, Rejection]] = {}

    def rejected(self, owner: Key, ref: ObjectRef, error: CreateRejected) -> None:
        """Take note of a no."""
        found = self._by_key.setdefault(owner, {})
        now, name = self._clock(), f"{ref.kind}/{ref.name}"
        before = found.get(name)
        if before is None or before.kind != error.kind:
            found[name] = Rejection(error.kind, error.name, error.words, now, now)
        else:
            tries = before.tries + 1
            found[name] = replace(before, words=error.words, last_at=now, tries=tries)

    def succeeded(self, owner: Key, ref: ObjectRef) -> None:
        """Forget a no that became a yes."""
        found = self._by_key.get(owner)
        if found is not None:
            found.pop(f"{ref.kind}/{ref.name}", None)
            if not found:
                del self._by_key[owner]

    def forget(self, owner: Key) -> None:
        """Let go of an object that is gone."""
        self._by_key.pop(owner, None)

    def of(self, owners: Iterable[Key]) -> dict[str, Rejection]:
        """Return the refusals of some passes together, as ``observed.rejections`` has them."""
        found: dict[str, Rejection] = {}
        for owner in owners:
            found.update(self._by_key.get(owner, {}))
        return found
