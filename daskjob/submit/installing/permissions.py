"""The permissions that an installation needs, asked for before anything is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from daskjob.core.errors import DaskJobError, Permission
from daskjob.submit.installing.cluster_objects import ClusterObjects, ObjectId


class NotPermitted(DaskJobError):
    """Permissions are missing; nothing was changed."""

    def __init__(self, permissions: Sequence[Permission], purpose: str) -> None:
        super().__init__(tuple(permissions), purpose)
        self.permissions = tuple(permissions)
        self.purpose = purpose

    def __str__(self) -> str:
        lines = [
            f"  {one.verb} {one.resource}: {one}"
            for one in sorted(self.permissions, key=lambda one: (one.namespace, one.resource))
        ]
        count = len(lines)
        missing = "a permission is missing" if count == 1 else f"{count} permissions are missing"
        return "\n".join([f"{missing} to {self.purpose}; nothing was changed:", *lines])


def to_apply(objects: Iterable[ObjectId]) -> set[Permission]:
    """Return the permissions to create or change objects."""
    return {one.permission(verb) for one in objects for verb in ("get", "create", "patch")}


def to_delete(objects: Iterable[ObjectId]) -> set[Permission]:
    """Return the permissions to delete objects."""
    return {one.permission(verb) for one in objects for verb in ("get", "delete")}


async def missing_of(
    cluster: ClusterObjects, permissions: Iterable[Permission]
) -> list[Permission]:
    """Return the permissions that the user does not have."""
    wanted = list(permissions)
    allowed = await asyncio.gather(*(cluster.may(one) for one in wanted))
    return [one for one, yes in zip(wanted, allowed, strict=True) if not yes]


async def check_permissions(
    cluster: ClusterObjects, permissions: Iterable[Permission], purpose: str
) -> None:
    """Check permissions.

    Raises
    ------
    NotPermitted
        Some are missing: each with the rule that grants it.
    """
    missing = await missing_of(cluster, permissions)
    if missing:
        raise NotPermitted(missing, purpose)
