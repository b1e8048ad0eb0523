"""Leases of leader election, read and written without the cache."""

from __future__ import annotations

from daskjob.core.errors import NotFound
from daskjob.core.manifests import Manifest, ObjectRef
from daskjob.kube.api import Api
from daskjob.kube.decoding import read_object


class Leases:
    """The Leases of a cluster."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def get(self, namespace: str, name: str) -> Manifest | None:
        """Return the Lease as the API server has it now; ``None`` if there is none."""
        try:
            return read_object(await self._api.get(ObjectRef("Lease", namespace, name)))
        except NotFound:
            return None

    async def create(self, manifest: Manifest) -> Manifest:
        """Create a Lease and return it.

        Raises
        ------
        Conflict
            A Lease of this name exists.
        """
        return read_object(await self._api.create(manifest))

    async def update(self, manifest: Manifest) -> Manifest:
        """Replace a Lease if it still has this resourceVersion, and return it.

        Raises
        ------
        NotFound, Conflict
            It is gone; it has changed.
        """
        return read_object(await self._api.replace(manifest))
