"""The pod that this process runs in."""

from __future__ import annotations

import os

from daskjob.core.errors import DaskJobError
from daskjob.core.manifests import ObjectRef, object_ref
from daskjob.kube.api import Api
from daskjob.kube.credentials import ServiceAccount
from daskjob.kube.objects import get_object


async def own_pod(api: Api, namespace: str) -> list[ObjectRef]:
    """Return the pod of this process if it runs in this namespace; else nothing.

    It owns the workers of a scheduler in this process: they end with it.
    """
    if not isinstance(api.credentials, ServiceAccount):
        return []
    try:
        found = await get_object(api, ObjectRef("Pod", namespace, os.environ.get("HOSTNAME", "")))
    except DaskJobError:
        return []
    return [object_ref(found)]
