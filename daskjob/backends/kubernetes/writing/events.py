"""Manifests of Kubernetes Events on our objects.

Of ``v1``, not of ``events.k8s.io``: kubectl reads both, and many tools that list Events sort them
by ``lastTimestamp``, which the newer API forbids.
"""

from __future__ import annotations

from datetime import datetime

from daskjob.core import names
from daskjob.core.decision import Event
from daskjob.core.manifests import Manifest, ObjectRef, format_time
from daskjob.core.messages import cut

COMPONENT = "daskjob"
#: The limits of Kubernetes' own event recorders.
MESSAGE_LIMIT = 1024
NAME_LIMIT = 253


def event_manifest(ref: ObjectRef, event: Event, now: datetime, suffix: str) -> Manifest:
    """Return the Event on one of our objects; ``suffix`` makes its name unique."""
    when = format_time(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{ref.name[: NAME_LIMIT - len(suffix) - 1]}.{suffix}",
            "namespace": ref.namespace,
        },
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": ref.kind,
            "namespace": ref.namespace,
            "name": ref.name,
            "uid": ref.uid,
        },
        "reason": event.reason,
        "message": cut(event.message, MESSAGE_LIMIT, "..."),
        "type": "Warning" if event.warning else "Normal",
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": when,
        "lastTimestamp": when,
        "count": 1,
    }
