"""The version of Kubernetes."""

from __future__ import annotations

import re

from daskjob.core.errors import DaskJobError
from daskjob.kube.requests import Request
from daskjob.kube.resources import Resource
from daskjob.submit.doctor.cluster.ground import Ground
from daskjob.submit.doctor.finding import Finding, failed, ok, skipped
from daskjob.submit.installing.cluster_objects import object_of

CHECK = "Kubernetes"
#: Older versions reject the CRDs.
OLDEST = (1, 30)


async def kubernetes_version(ground: Ground) -> Finding:
    """Check that the API server is new enough."""
    request = Request("get", Resource("Version", "v1", "version"), "/version", "version", None)
    try:
        found = str(object_of(await ground.api.send(request), request).get("gitVersion", ""))
    except (DaskJobError, ValueError) as error:
        return skipped(CHECK, f"its version is not known: {error}")
    return judged(found)


def judged(version: str) -> Finding:
    """Check a version."""
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST:
        return failed(CHECK, f"{version} is older than 1.30", "upgrade the cluster")
    return ok(CHECK, version)
