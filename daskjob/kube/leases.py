"""Leases of leader election, read and written without the cache."""

from __future__ import annotations

from typing import Annotated

import msgspec

from daskjob.core.errors import NotFound
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.kube.api import Api
from daskjob.kube.decoding import decoded, read_object

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
        """Return the Lease as the API server has it now; ``None`` if there is none."""
        try:
            return _lease(await self._api.get(ObjectRef("Lease", namespace, name)))
        except NotFound:
            return None

    async def create(self, manifest: Manifest) -> Manifest:
        """Create a Lease and return it.

        Raises
        ------
        Conflict
            A Lease of this name exists.
        """
        return _lease(await self._api.create(manifest))

    async def update(self, manifest: Manifest) -> Manifest:
        """Replace a Lease if it still has this resourceVersion, and return it.

        Raises
        ------
        NotFound, Conflict
            It is gone; it has changed.
        """
        return _lease(await self._api.replace(manifest))


def _lease(data: bytes) -> Manifest:
    """Return a Lease; raise ``UnexpectedObject`` for anything else, such as a proxy's page."""
    decoded(_LEASE, data, "a Lease")
    return read_object(data)
