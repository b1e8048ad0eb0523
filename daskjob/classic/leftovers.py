"""What clusters of clients that are gone have left in a namespace."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from daskjob.classic.lease import ANNOTATION
from daskjob.core.errors import DaskJobError, NotFound
from daskjob.core.manifests import Manifest, ObjectRef, mapping, metadata, object_ref
from daskjob.core.names import LABEL_COMPONENT
from daskjob.core.pods import pod_facts
from daskjob.kube.api import Api
from daskjob.kube.errors import Replaced
from daskjob.kube.objects import list_objects
from daskjob.kube.resources import PODS, Selection

logger = logging.getLogger("daskjob")


async def delete_leftovers(api: Api, namespace: str) -> None:
    """Delete schedulers that have ended, and with them what they own; errors are only logged."""
    selection = Selection(PODS, namespace, labels=f"{LABEL_COMPONENT}=scheduler,app=dask")
    try:
        found = await list_objects(api, selection)
        for ref in ended_schedulers(found.items, datetime.now(UTC)):
            try:
                await api.delete(ref)
                logger.info("deleted %s, whose client is gone", ref.name)
            except (NotFound, Replaced):
                pass
    except DaskJobError as error:
        logger.info("what earlier clusters have left was not deleted: %s", error)


def ended_schedulers(pods: tuple[Manifest, ...], now: datetime) -> Iterator[ObjectRef]:
    """Yield the schedulers that ended by themselves a whole lease ago.

    A client that still exists would have deleted its scheduler by then, or does so later in vain.
    """
    for pod in pods:
        seconds = mapping(metadata(pod).get("annotations")).get(ANNOTATION)
        main = pod_facts(pod).main
        if seconds is None or mapping(pod.get("status")).get("phase") != "Succeeded":
            continue
        ended = main.finished_at if main else None
        # Anyone may have written the annotation.
        with suppress(ValueError, OverflowError):
            if ended and now - ended >= timedelta(seconds=float(seconds)):
                yield object_ref({**pod, "kind": "Pod"})
