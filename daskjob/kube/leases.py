"""Leases of leader election, read and written without the cache."""

from __future__ import annotations

from typing import Annotated

import msgspec

from daskjob.core.errors import NotFound
from daskjob.core.manifests import Manifest, ObjectRef, object_ref
from daskjob.kube.api import Api
from daskjob.kube.decoding import decoded, read_object
from daskjob.kube.errors import UnexpectedObject

#: Kubernetes' int32; larger numbers are not of a Lease.
_Number = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class _Spec(msgspec.Struct):
    holderIdentity: str | None = None  # noqa: N815 - Kubernetes' names
    leaseDurationSeconds: _Number | None = None  # noqa: N815
    leaseTransitions: _Number | None = None  # noqa: N815
    acquireTime: str | None = None  # noqa: N815


class _Metadata(msgspec.Struct):
    name: str
    resourceVersion: str  # noqa: N815


class _Lease(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec | None = None


_LEASE = msgspec.json.Decoder(_Lease)


class Leases:
    """The Leases of a cluster."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def get(self, namespace: str, name: str) -> Manifest | None:
        """Return the Lease as the API server has it now; ``None`` if there is none.

        Raises
        ------
        UnexpectedObject
            The answer is not this Lease.
        """
        ref = ObjectRef("Lease", namespace, name)
        try:
            return _lease(await self._api.get(ref), ref)
        except NotFound:
            return None

    async def create(self, manifest: Manifest) -> Manifest:
        """Create a Lease and return it.

        Raises
        ------
        Conflict
            A Lease of this name exists.
        UnexpectedObject
            The answer is not this Lease; it may have been created.
        """
        return _lease(await self._api.create(manifest), object_ref(manifest))

    async def update(self, manifest: Manifest) -> Manifest:
        """Replace a Lease if it still has this resourceVersion, and return it.

        Raises
        ------
        NotFound, Conflict
            It is gone; it has changed.
        UnexpectedObject
            The answer is not this Lease; it may have been replaced.
        """
        return _lease(await self._api.replace(manifest), object_ref(manifest))


def _lease(data: bytes, wanted: ObjectRef) -> Manifest:
    """Return a Lease of an answer, if it is the one of this name.

    Anything else, such as a proxy's page, would look like a Lease that no operator holds.
    """
    decoded(_LEASE, data, "a Lease")
    found = read_object(data)
    there = object_ref(found)
    if (there.kind, there.namespace, there.name) != (wanted.kind, wanted.namespace, wanted.name):
        raise UnexpectedObject(f"the answer is not {wanted}")
    return found
