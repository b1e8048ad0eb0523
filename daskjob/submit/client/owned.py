"""Objects that a job needs and owns, such as the Secret of its variables."""

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
) -> None:
    """Create an object in the owner's namespace; one that it already owns is left as it is.

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
            if await _is_ours(api, object_ref(wanted), owner):
                return
        except OutcomeUnknown as error:
            last = error
        else:
            return
        if time.monotonic() >= give_up:
            raise last
        await asyncio.sleep(PAUSE_SECONDS)


def _owned(manifest: Manifest, owner: ObjectRef) -> Manifest:
    reference = {
        "apiVersion": API_VERSION,
        "kind": str(owner.kind),
        "name": owner.name,
        "uid": owner.uid,
    }
    meta = {
        **metadata(manifest),
        "namespace": owner.namespace,
        "ownerReferences": [reference],
    }
    return {**manifest, "metadata": meta}


async def _is_ours(api: Api, ref: ObjectRef, owner: ObjectRef) -> bool:
    """Return whether the object belongs to the owner; ``False``: it will soon be gone.

    Raises
    ------
    Conflict
        It belongs to something else, and stays.
    """
    try:
        owners = mappings(metadata(await get_object(api, ref)).get("ownerReferences"))
    except NotFound:
        return False
    if any(item.get("uid") == owner.uid for item in owners):
        return True
    # Garbage of a deleted job that had the owner's name.
    if any((item.get("kind"), item.get("name")) == (owner.kind, owner.name) for item in owners):
        return False
    raise Conflict(f"{ref} exists and does not belong to {owner}; choose another name")
