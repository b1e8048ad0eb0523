"""Rejected objects, by the key of their pass, with times and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from daskjob.core.errors import CreateRejected
from daskjob.core.manifests import Key, ObjectRef
from daskjob.core.observed import Rejection


def counted(before: Rejection | None, error: CreateRejected, now: datetime) -> Rejection:
    """Return a rejection, counted together with the previous ones of the same kind."""
    if before is None or before.kind != error.kind:
        return Rejection(error.kind, error.name, error.message, now, now)
    return replace(before, message=error.message, last_at=now, tries=before.tries + 1)


class Rejections:
    """Rejected objects that have not succeeded since, by the key of their pass."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._by_key: dict[Key, dict[str, Rejection]] = {}

    def rejected(self, owner: Key, ref: ObjectRef, error: CreateRejected) -> None:
        """Record a rejection."""
        found = self._by_key.setdefault(owner, {})
        name = f"{ref.kind}/{ref.name}"
        found[name] = counted(found.get(name), error, self._clock())

    def succeeded(self, owner: Key, ref: ObjectRef) -> None:
        """Clear a rejection after a success."""
        self.withdraw(owner, [f"{ref.kind}/{ref.name}"])

    def withdraw(self, owner: Key, names: Iterable[str]) -> None:
        """Discard the rejections of objects that are not wanted any more."""
        found = self._by_key.get(owner)
        if found is None:
            return
        for name in names:
            found.pop(name, None)
        if not found:
            del self._by_key[owner]

    def forget(self, owner: Key) -> None:
        """Discard the rejections of an object that is gone."""
        self._by_key.pop(owner, None)

    def of(self, owners: Iterable[Key]) -> dict[str, Rejection]:
        """Return the rejections of several keys, in the form of ``observed.rejections``."""
        found: dict[str, Rejection] = {}
        for owner in owners:
            found.update(self._by_key.get(owner, {}))
        return found
