"""The invariants of a job that hold whatever fails (design §4), and the measure of a hot loop.

Checked against all versions of all objects of a namespace, and the operator's own requests.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.cluster.proxy import Request
from tests.operator.history import Manifest, Server

TERMINAL = ("Successful", "Failed")
ALIVE = ("Pending", "Running")
_ATTEMPT = "DASKJOB_ATTEMPT"
_COMPONENT = "dask.org/component"
_UID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def violations(server: Server, writes: Iterable[Request]) -> list[str]:
    """Return the violations of the invariants."""
    return [
        *_more_than_one_runner(server),
        *_untrue_words(server),
        *_too_many_workers(server),
        *_deletions_whatever_the_uid(writes),
    ]


def _more_than_one_runner(server: Server) -> Iterator[str]:
    """Yield attempts with a second runner, by the job's uid: its name may be used again."""
    jobs: dict[str, str] = {}
    uids: dict[tuple[str, str], set[str]] = defaultdict(set)
    alive: dict[str, set[str]] = defaultdict(set)
    for version in server.versions:
        if version.kind != "Pod" or not (_is_runner(version.object) or version.uid in jobs):
            continue
        owner = controller(version.object)
        job = jobs.setdefault(version.uid, owner)
        uids[job, _attempt(version.object)].add(version.uid)
        phase = version.object.get("status", {}).get("phase")
        # A pod whose owner reference was removed by hand belongs to no job any more.
        if owner and phase in ALIVE and not version.gone:
            alive[job].add(version.name)
        else:
            alive[job].discard(version.name)
        if len(alive[job]) > 1:
            yield f"runners {sorted(alive[job])} of one job ran together"
    for (job, attempt), found in uids.items():
        if job and len(found) > 1:
            yield f"the runner of attempt {attempt} of job {job} was created {len(found)} times"


def _is_runner(pod: Manifest) -> bool:
    return (pod["metadata"].get("labels") or {}).get(_COMPONENT) == "job-runner"


def _untrue_words(server: Server) -> Iterator[str]:
    last: dict[str, str] = {}
    for version in server.versions:
        status = version.object.get("status") or {}
        if version.kind != "DaskJob":
            continue
        word, before = status.get("jobStatus", ""), last.get(version.uid, "")
        if word in TERMINAL and not status.get("endTime"):
            yield f"{version.name}: {word} without endTime"
        if before in TERMINAL and word != before:
            yield f"{version.name}: {before} became {word}"
        last[version.uid] = word


def _too_many_workers(server: Server) -> Iterator[str]:
    """Yield groups that at some moment had more workers than they ever requested."""
    asked: dict[str, int] = {}
    for version in server.versions:
        if version.kind == "DaskWorkerGroup":
            replicas = version.object["spec"]["worker"].get("replicas") or 0
            asked[version.uid] = max(asked.get(version.uid, 0), replicas)
    alive: dict[str, set[str]] = defaultdict(set)
    most: dict[str, int] = {}
    for version in server.versions:
        owner = controller(version.object)
        if version.kind != "Pod" or owner not in asked:
            continue
        meta, phase = version.object["metadata"], version.object.get("status", {}).get("phase")
        if version.gone or meta.get("deletionTimestamp") or phase not in ALIVE:
            alive[owner].discard(version.uid)
        else:
            alive[owner].add(version.uid)
        most[owner] = max(most.get(owner, 0), len(alive[owner]))
    for owner, count in most.items():
        if count > asked[owner]:
            yield f"{count} workers of a group that asks for {asked[owner]}"


def _deletions_whatever_the_uid(writes: Iterable[Request]) -> Iterator[str]:
    for request in writes:
        if request.verb != "delete":
            continue
        if not json.loads(request.body or b"{}").get("preconditions", {}).get("uid"):
            yield f"{request.resource} {request.name} was deleted without a precondition on its uid"


def orphans(server: Server) -> list[str]:
    """Return the project's objects that exist although their owner does not."""
    uids = {found["metadata"]["uid"] for found in server.objects.values()}
    return [
        f"{kind}/{name}"
        for (kind, name), found in server.objects.items()
        if controller(found) and controller(found) not in uids
    ]


def controller(found: Manifest) -> str:
    """Return the uid of an object's controller; empty if it has none."""
    owners: list[Any] = found["metadata"].get("ownerReferences") or []
    return next((owner["uid"] for owner in owners if owner.get("controller")), "")


def _attempt(runner: Manifest) -> str:
    """Return the attempt in a runner pod's environment."""
    variables = runner["spec"]["containers"][0].get("env") or []
    return next((v.get("value", "") for v in variables if v["name"] == _ATTEMPT), "")


# Rates of requests


def about(request: Request) -> str:
    """Return the verb and object of a request; a creation has no name in its path."""
    name = request.name
    if request.verb == "create" and not name:
        name = json.loads(request.body)["metadata"].get("name", "")
    what = "/".join(filter(None, (request.resource, request.subresource)))
    return f"{request.verb} {what} {name}".strip()


def about_uid(request: Request) -> str:
    """Return what a request is about, with the first uid in its body: a name may be used again."""
    found = _UID.search(request.body or b"")
    return f"{about(request)} {found.group().decode() if found else ''}".strip()


def most_often(
    requests: Iterable[Request], seconds: float, what: Callable[[Request], str] = about
) -> tuple[int, str]:
    """Return the most frequent request in any window of this length, and its count."""
    moments: dict[str, list[float]] = defaultdict(list)
    for request in requests:
        moments[what(request)].append(request.at)
    return max(
        ((_within(sorted(at), seconds), words) for words, at in moments.items()), default=(0, "")
    )


def _within(moments: list[float], seconds: float) -> int:
    """Return the largest number of moments within any window of this length."""
    first, most = 0, 0
    for index, moment in enumerate(moments):
        while moment - moments[first] > seconds:
            first += 1
        most = max(most, index - first + 1)
    return most
