"""Waits until what was installed is in use, and reports what it waits for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from daskjob.core.diagnose import crash_loop, waiting_for
from daskjob.core.errors import ApiError, DaskJobError, Forbidden
from daskjob.core.manifests import Manifest, mapping, metadata
from daskjob.core.pods import pod_facts
from daskjob.kube.objects import TRANSIENT
from daskjob.submit.installing.cluster_objects import ClusterObjects, ObjectId
from daskjob.submit.installing.crd_versions import is_established

Report = Callable[[str], None]
#: How long an image that cannot be pulled is waited for: the kubelet tries again after some time.
IMAGE_SECONDS = 30.0
#: What to do about it: the chart's own name of the image is in no public registry.
IMAGE_FIX = (
    "name an image that the nodes can pull: daskjob install --set "
    "image.name=REGISTRY/daskjob-operator --set image.tag=TAG"
)
#: Between two looks at the cluster.
PAUSE_SECONDS = 0.5


class NotReady(DaskJobError):
    """The installation is complete, but not in use within the time limit."""


class Patience:
    """A time limit, and what is waited for, which is reported whenever it changes."""

    def __init__(self, seconds: float, report: Report) -> None:
        self._ends_at = time.monotonic() + seconds
        self._seconds = seconds
        self._report = report
        self._reported = ""
        self._began = time.monotonic()
        self._no_image_since: float | None = None

    async def pause(self, waits_for: str, detail: str = "") -> None:
        """Wait a moment; the detail is reported at the end of the time only.

        Raises
        ------
        NotReady
            The time is over, or an image cannot be pulled.
        """
        now = time.monotonic()
        if waits_for != self._reported:
            self._reported = waits_for
            self._report(f"waiting for {waits_for}")
        no_image = "cannot be pulled" in waits_for
        self._no_image_since = (self._no_image_since or now) if no_image else None
        no_hope = self._no_image_since is not None and now - self._no_image_since >= IMAGE_SECONDS
        if now >= self._ends_at or no_hope:
            fix = IMAGE_FIX if no_image else "correct the values and run daskjob install again"
            raise NotReady(
                f"waited {min(now - self._began, self._seconds):.0f} s for "
                f"{': '.join(filter(None, (waits_for, detail)))}; what was installed stays: {fix}"
            )
        await asyncio.sleep(PAUSE_SECONDS)


async def until_established(
    cluster: ClusterObjects, crds: Iterable[ObjectId], patience: Patience
) -> None:
    """Wait until the API server serves the kinds of these CRDs."""
    waiting = list(crds)
    while True:
        found = [await cluster.get(one) for one in waiting]
        waiting = [
            one
            for one, crd in zip(waiting, found, strict=True)
            if crd is None or not is_established(crd)
        ]
        if not waiting:
            return
        names = ", ".join(one.name.partition(".")[0] for one in waiting)
        await patience.pause(f"the API server to serve {names}")


async def until_ready(cluster: ClusterObjects, deployment: ObjectId, patience: Patience) -> None:
    """Wait until all pods of a Deployment are of its current version, and ready."""
    while True:
        try:
            found = await cluster.get(deployment)
            lacking, detail = await _lacking(cluster, found)
        except TRANSIENT as error:
            lacking, detail = "a response", str(error)
        if not lacking:
            return
        await patience.pause(f"the operator: {lacking}", detail)


async def until_gone(
    cluster: ClusterObjects, objects: Iterable[ObjectId], patience: Patience
) -> None:
    """Wait until objects are deleted."""
    for one in objects:
        while await cluster.exists(one):
            await patience.pause(f"the deletion of {one}")


async def _lacking(cluster: ClusterObjects, deployment: Manifest | None) -> tuple[str, str]:
    """Return what a Deployment lacks, and details of it; empty: nothing."""
    if deployment is None:
        return "its Deployment", ""
    status = mapping(deployment.get("status"))
    wanted = mapping(deployment.get("spec")).get("replicas", 1)
    if status.get("observedGeneration") != metadata(deployment).get("generation"):
        return "its new version", ""
    updated, ready = status.get("updatedReplicas", 0), status.get("readyReplicas", 0)
    if updated == wanted == ready and status.get("replicas", 0) == wanted:
        return "", ""
    problem, detail = await pod_problem(cluster, deployment)
    return (
        f"{min(updated, ready)} of {wanted} pods ready{f': {problem}' if problem else ''}",
        detail,
    )


async def pod_problem(cluster: ClusterObjects, deployment: Manifest) -> tuple[str, str]:
    """Return why a pod of a Deployment does not run, and details; empty: no reason is known."""
    labels = mapping(mapping(deployment["spec"].get("selector")).get("matchLabels"))
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    namespace = str(metadata(deployment).get("namespace"))
    try:
        pods = await cluster.list("v1", "Pod", namespace=namespace, labels=selector)
    except (Forbidden, ApiError):
        return "", ""
    for pod in pods:
        if metadata(pod).get("deletionTimestamp"):
            continue
        facts = pod_facts(pod)
        found = crash_loop(facts) or waiting_for(facts)
        if found:
            return found.summary.strip(), f"{found.detail}. {found.next_step}".strip(". ")
    return _not_created(deployment), ""


def _not_created(deployment: Manifest) -> str:
    """Return why a Deployment has no pods: a quota, or the Pod Security of the namespace."""
    for condition in mapping(deployment.get("status")).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return str(condition.get("message"))
    return ""
