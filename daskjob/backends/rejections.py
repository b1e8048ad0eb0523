"""Rejected objects, by the owner for which they were created, with times and counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import TypeAlias

from daskjob.core.errors import CreateRejected
from daskjob.core.manifests import ObjectRef
from daskjob.core.observed import Rejection

#: A namespace, and the uid of an object in it: a name may belong to another object later, and an
#: object of another namespace may claim the same uid as its owner.
Owner: TypeAlias = tuple[str, str]


def counted(before: Rejection | None, error: CreateRejected, now: datetime) -> Rejection:
    """Return a rejection, counted together with the previous ones of the same kind."""
    if before is None or before.kind != error.kind:
        return Rejection(error.kind, error.name, error.message, now, now)
    return replace(before, message=error.message, last_at=now, tries=before.tries + 1)


class Rejections:
    """Rejected objects that have not succeeded since, by their owner."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._by_owner: dict[Owner, dict[str, Rejection]] = {}

    def __len__(self) -> int:
        return len(self._by_owner)

    def rejected(self, owner: Owner, ref: ObjectRef, error: CreateRejected) -> None:
        """Record a rejection."""
        found = self._by_owner.setdefault(owner, {})
        name = f"{ref.kind}/{ref.name}"
        found[name] = counted(found.get(name), error, self._clock())

    def succeeded(self, owner: Owner, ref: ObjectRef) -> None:
        """Clear a rejection after a success."""
        self.withdraw(owner, [f"{ref.kind}/{ref.name}"])

    def withdraw(self, owner: Owner, names: Iterable[str]) -> None:
        """Discard the rejections of objects that are not wanted any more."""
        found = self._by_owner.get(owner)
        if found is None:
            return
        for name in names:
            found.pop(name, None)
        if not found:
            del self._by_owner[owner]

    def forget(self, owner: Owner) -> None:
        """Discard the rejections of an object that is gone."""
        self._by_owner.pop(owner, None)

    def of(self, owners: Iterable[Owner]) -> dict[str, Rejection]:
        """Return the rejections of several owners, in the form of ``observed.rejections``."""
        found: dict[str, Rejection] = {}
        for owner in owners:
            found.update(self._by_owner.get(owner, {}))
        return found
