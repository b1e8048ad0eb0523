"""The image and DNS, by a pod that lives for a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from daskjob.core.diagnose import Diagnosis, crash_loop, waiting_for
from daskjob.core.errors import DaskJobError, Forbidden, NotFound
from daskjob.core.manifests import Manifest, mapping
from daskjob.core.pods import pod_facts
from daskjob.core.reasons import Reason
from daskjob.kube.requests import Request
from daskjob.kube.resources import PODS
from daskjob.submit.cluster_job.image import Versions
from daskjob.submit.doctor.cluster.ground import Ground
from daskjob.submit.doctor.cluster.small_job import pod, pods_of
from daskjob.submit.doctor.finding import Finding, failed, ok, skipped, warning
from daskjob.submit.installing.cluster_objects import ObjectId

IMAGE, DNS = "image", "DNS"
START_SECONDS = 120.0
#: A problem that lasts this long will not end by itself: an image that cannot be pulled.
STUCK_SECONDS = 15.0
_PAUSE_SECONDS = 0.5
_CODE = """\
import platform, socket
from importlib.metadata import version
print("python", platform.python_version(), "dask", version("dask"),
      "distributed", version("distributed"), flush=True)
socket.getaddrinfo("kubernetes.default.svc", 443)
print("resolved", flush=True)
"""


async def short_pod(ground: Ground, job: Manifest, here: Versions) -> AsyncIterator[Finding]:
    """Start a pod, look at its log, and delete it."""
    spec = pods_of(job)["worker"]
    container = {**spec["containers"][0], "args": ["python", "-c", _CODE]}
    manifest = pod({**spec, "containers": [container]}, ground.namespace)
    image = str(container.get("image"))
    one = ObjectId.of(manifest)
    try:
        await ground.objects.create(manifest)
        ended = await _ended(ground, one)
        log = "" if isinstance(ended, Finding) else await _log(ground, one)
    except Forbidden:
        yield skipped(IMAGE, "this user may not create pods; the job below shows it")
        return
    except DaskJobError as error:
        yield failed(IMAGE, f"a pod of {image}: {error}", "see the lines above")
        return
    finally:
        await _deleted(ground, one)
    if isinstance(ended, Finding):
        yield ended
        return
    for finding in judged(image, log, here):
        yield finding


def judged(image: str, log: str, here: Versions) -> list[Finding]:
    """Judge the log of the pod."""
    words = log.split()
    if words[:1] != ["python"] or len(words) < 6:
        last = log.strip().splitlines()[-1:] or ["no output"]
        fix = "name an image with Python, dask and distributed: --image IMAGE"
        return [failed(IMAGE, f"{image} starts and lacks something: {last[0]}", fix)]
    there = dict(zip(words[0:6:2], words[1:6:2], strict=True))
    text = f"{image} starts: Python {there['python']}, dask {there['dask']}"
    theirs = Versions(there["python"], there["dask"], there["distributed"])
    differing = [
        f"{name} {a}, here {b}"
        for name, a, b in (
            ("Python", theirs.minor, here.minor),
            ("dask", theirs.dask, here.dask),
            ("distributed", theirs.distributed, here.distributed),
        )
        if b and a != b
    ]
    first = ok(IMAGE, text)
    if differing:
        fix = "use the same versions here and there: --image IMAGE, or pip install"
        first = warning(IMAGE, f"{image} starts, with {'; '.join(differing)}", fix)
    if "resolved" in words:
        return [first, ok(DNS, "a pod resolves kubernetes.default.svc")]
    error = log.strip().splitlines()[-1]
    return [
        first,
        failed(
            DNS,
            f"a pod cannot resolve kubernetes.default.svc: {error}",
            "check the cluster's DNS (kubectl get pods -n kube-system -l k8s-app=kube-dns) and the "
            "NetworkPolicies of the namespace: egress to port 53",
        ),
    ]


async def _ended(ground: Ground, one: ObjectId) -> Finding | None:
    """Wait for the end of the pod; return why it does not start."""
    gives_up_at = time.monotonic() + START_SECONDS
    stuck_since: float | None = None
    problem: Diagnosis | None = None
    while time.monotonic() < gives_up_at:
        found = await ground.objects.get(one)
        if found is None:
            raise NotFound(f"{one} was deleted by something else")
        facts = pod_facts(found)
        if mapping(found.get("status")).get("phase") in ("Succeeded", "Failed"):
            return None
        problem = crash_loop(facts) or waiting_for(facts)
        stuck_since = (stuck_since or time.monotonic()) if problem else None
        if stuck_since is not None and time.monotonic() - stuck_since > _patience(problem):
            break
        await asyncio.sleep(_PAUSE_SECONDS)
    if problem is None:
        text = f"the pod did not start within {START_SECONDS:g} s"
        return failed(IMAGE, text, f"kubectl get events -n {ground.namespace}")
    check = IMAGE if problem.reason is Reason.IMAGE_PULL else "pod"
    text = ": ".join(filter(None, (problem.summary.strip(), problem.detail)))
    return failed(check, text, problem.next_step or "kubectl describe pod")


def _patience(problem: Diagnosis | None) -> float:
    return 0.0 if problem is not None and problem.final else STUCK_SECONDS


async def _log(ground: Ground, one: ObjectId) -> str:
    path = PODS.path(one.namespace, one.name, "log")
    request = Request("get", PODS, path, f"log of {one}", one.namespace)
    return (await ground.api.send(request)).decode(errors="replace")


async def _deleted(ground: Ground, one: ObjectId) -> None:
    """Delete the pod, also if the doctor is interrupted: one request, which is not cancelled."""
    request = asyncio.ensure_future(ground.objects.delete(one))
    try:
        await asyncio.shield(request)
    except asyncio.CancelledError:
        await asyncio.wait([request], timeout=5)
        raise
    except DaskJobError:
        # It ends by its own deadline, and there is no better line for this.
        pass
