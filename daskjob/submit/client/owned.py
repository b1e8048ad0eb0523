"""Objects that a job needs and owns: the Secret of its variables, the ConfigMaps of its code."""

from __future__ import annotations

import asyncio
import time

from daskjob.core.errors import Conflict, DaskJobError, NotFound
from daskjob.core.manifests import Manifest, ObjectRef, mappings, metadata, object_ref
from daskjob.core.names import API_VERSION
from daskjob.kube.api import Api
from daskjob.kube.errors import AlreadyExists, OutcomeUnknown
from daskjob.kube.objects import get_object

#: How long to wait for the objects of a deleted job of the same name, and for a lost response.
BUDGET_SECONDS = 30.0
PAUSE_SECONDS = 0.5


async def create_owned(
    api: Api, manifest: Manifest, owner: ObjectRef, *, budget_seconds: float = BUDGET_SECONDS
) -> list[str]:
    """Create an object in the owner's namespace; one that it already owns is left as it is.

    Returns what is otherwise in that one.

    Raises
    ------
    Conflict
        The name belongs to an object of something else.
    DaskJobError
        The API server rejects the object, or does not respond.
    """
    wanted = _owned(manifest, owner)
    give_up = time.monotonic() + budget_seconds
    while True:
        try:
            await api.create(wanted, metadata_only=True)
        except AlreadyExists as error:
            last: DaskJobError = error
            found = await _ours(api, object_ref(wanted), owner)
            if found is not None:
                return [] if _same(found, wanted) else [f"{object_ref(wanted)}: other values"]
        except OutcomeUnknown as error:
            last = error
        else:
            return []
        if time.monotonic() >= give_up:
            raise last
        await asyncio.sleep(PAUSE_SECONDS)


def _owned(manifest: Manifest, owner: ObjectRef) -> Manifest:
    reference = {
        "apiVersion": API_VERSION,
        "kind": str(owner.kind),
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        # True needs permissions on finalizers, as on OpenShift.
        "blockOwnerDeletion": False,
    }
    meta = {
        **metadata(manifest),
        "namespace": owner.namespace,
        "ownerReferences": [reference],
    }
    return {**manifest, "metadata": meta}


def _same(found: Manifest, wanted: Manifest) -> bool:
    return all(found.get(part) == wanted.get(part) for part in ("data", "stringData", "binaryData"))


async def _ours(api: Api, ref: ObjectRef, owner: ObjectRef) -> Manifest | None:
    """Return the object if it belongs to the owner; ``None``: it will soon be gone.

    Raises
    ------
    Conflict
        It belongs to something else, and stays.
    """
    try:
        found = await get_object(api, ref)
    except NotFound:
        return None
    owners = mappings(metadata(found).get("ownerReferences"))
    if any(item.get("uid") == owner.uid for item in owners):
        return found
    # Garbage of a deleted job that had the owner's name.
    if any((item.get("kind"), item.get("name")) == (owner.kind, owner.name) for item in owners):
        return None
    raise Conflict(f"{ref} exists and does not belong to {owner}; choose another name")
