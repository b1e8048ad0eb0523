"""The operator: installed, ready, of this version, leading, and without errors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from daskjob import __version__
from daskjob.core.errors import DaskJobError, Forbidden
from daskjob.core.manifests import Manifest, integer, mapping, mappings, metadata, parse_time
from daskjob.core.quantity import duration
from daskjob.submit.doctor.cluster.ground import Ground
from daskjob.submit.doctor.finding import Finding, failed, ok, skipped, warning
from daskjob.submit.installing.cluster_objects import ObjectId
from daskjob.submit.installing.other_operators import operators, watched_namespaces
from daskjob.submit.installing.waiting import pod_problem

OPERATOR, LEADER = "operator", "leader"
_LEASE = "daskjob-operator"
#: Until an operator that has just started leads.
TAKEOVER_SECONDS = 25.0
_NO_LEADER = "no operator works: jobs neither start nor end"


async def operator(ground: Ground) -> AsyncIterator[Finding]:
    """Check the operator's Deployment, then the Lease of its leader."""
    found = [one for one in await operators(ground.objects) if _watches(one, ground.namespace)]
    leader = await _leader(ground, installed=bool(found))
    if found:
        deployment = await _deployment(ground, found[0])
        yield deployment
        gives_up_at = time.monotonic() + TAKEOVER_SECONDS
        # A new operator waits until the Lease of one that is gone has expired.
        while leader.state == "failed" and deployment.state != "failed":
            if time.monotonic() >= gives_up_at:
                break
            await asyncio.sleep(1.0)
            leader = await _leader(ground, installed=True)
    elif leader.state == "ok":
        yield skipped(OPERATOR, "no Deployment of it is visible to this user")
    elif await ground.objects.may(ObjectId("apps/v1", "Deployment", "", "").permission("list")):
        yield failed(
            OPERATOR,
            f"none watches namespace {ground.namespace}",
            "an administrator installs it: daskjob install",
        )
        return
    else:
        yield skipped(OPERATOR, "this user may not list Deployments of all namespaces")
    yield leader


def _watches(deployment: Manifest, namespace: str) -> bool:
    watched = watched_namespaces(deployment)
    return not watched or namespace in watched


async def _deployment(ground: Ground, deployment: Manifest) -> Finding:
    one = ObjectId.of(deployment)
    status, spec = mapping(deployment.get("status")), mapping(deployment.get("spec"))
    ready, wanted = integer(status.get("readyReplicas")) or 0, integer(spec.get("replicas"))
    if wanted == 0:
        fix = f"kubectl scale -n {one.namespace} deployment/{one.name} --replicas=1"
        return failed(OPERATOR, f"{one} has 0 replicas", fix)
    if not ready:
        problem, detail = await pod_problem(ground.objects, deployment)
        text = ": ".join(filter(None, (f"{one} has no ready pod", problem, detail)))
        return failed(OPERATOR, text, f"kubectl logs -n {one.namespace} deployment/{one.name}")
    labels = mapping(metadata(deployment).get("labels"))
    version = str(labels.get("app.kubernetes.io/version", "an unknown version"))
    if version != __version__:
        return warning(
            OPERATOR,
            f"{one} is of version {version}, this daskjob of {__version__}",
            "an administrator upgrades it: daskjob install; or use its version here: "
            f"pip install daskjob=={version}",
        )
    return await _history(ground, deployment, f"{one} {version}, {ready} of {wanted} pods ready")


async def _history(ground: Ground, deployment: Manifest, text: str) -> Finding:
    """Return whether the operator has crashed."""
    one = ObjectId.of(deployment)
    labels = mapping(mapping(deployment["spec"].get("selector")).get("matchLabels"))
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    try:
        pods = await ground.objects.list("v1", "Pod", namespace=one.namespace, labels=selector)
    except DaskJobError:
        return ok(OPERATOR, text)
    for pod in pods:
        for container in mappings(mapping(pod.get("status")).get("containerStatuses")):
            last = mapping(mapping(container.get("lastState")).get("terminated"))
            if last and container.get("restartCount"):
                return warning(
                    OPERATOR,
                    f"{text}, and {container['restartCount']} restarts, the last after "
                    f"{last.get('reason')} (exit code {last.get('exitCode')})",
                    f"kubectl logs -n {one.namespace} {metadata(pod)['name']} --previous",
                )
    return ok(OPERATOR, text)


async def _leader(ground: Ground, *, installed: bool) -> Finding:
    """Check that an operator holds the Lease, in one of the two places where it can be."""
    readable, newest = False, None
    for namespace in (ground.namespace, "kube-system"):
        one = ObjectId("coordination.k8s.io/v1", "Lease", namespace, _LEASE)
        try:
            lease = await ground.objects.get(one)
        except Forbidden:
            continue
        readable = readable or namespace == "kube-system" or lease is not None
        spec = mapping((lease or {}).get("spec"))
        renewed = parse_time(spec.get("renewTime"))
        if renewed and spec.get("holderIdentity"):
            newest = max(newest or (renewed, spec), (renewed, spec), key=lambda found: found[0])
    if newest is not None:
        return lease_finding(newest[0], newest[1], datetime.now(UTC))
    if not readable:
        return skipped(LEADER, "this user may not read the Lease of the leader")
    fix = "check the operator's log" if installed else "an administrator: daskjob install"
    return failed(LEADER, _NO_LEADER, fix)


def lease_finding(renewed: datetime, spec: Manifest, now: datetime) -> Finding:
    """Check that a Lease was renewed lately."""
    age = now - renewed
    lasts = integer(spec.get("leaseDurationSeconds")) or 15
    if age > timedelta(seconds=2 * lasts):
        text = f"{_NO_LEADER}; the last one was there {duration(age)} ago"
        return failed(LEADER, text, "start the operator, or check its log")
    return ok(LEADER, f"{spec['holderIdentity']}")
