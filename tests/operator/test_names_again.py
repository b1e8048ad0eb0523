"""Names that are reused, namespaces that are deleted, and children that are changed by hand."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from tests.cluster.fake_nodes import ENDS_AFTER
from tests.cluster.plugin import Kubernetes
from tests.operator.history import Manifest, NotThere
from tests.operator.invariants import about_uid, controller, most_often, orphans, violations
from tests.operator.jobs import ended, fake_job, says
from tests.operator.staged import Results, Stage, Story, assert_succeeded, side_by_side

INCARNATIONS = 20
#: Time limit for garbage collection and for the start and end of the last one together.
LAST_SECONDS = 90.0
#: The most repetitions of a request in any 5 s: waiting for a name begins with fast polls.
WINDOW_SECONDS = 5.0
MOST_IN_WINDOW = 10

ENDS = {"metadata": {"annotations": {ENDS_AFTER: "0s"}}}
UNLABELLED = {"metadata": {"labels": {"dask.org/cluster-name": None, "dask.org/component": None}}}
DISOWNED = {"metadata": {"ownerReferences": None}}


def status(stage: Stage, name: str) -> Manifest:
    """Return the status of a job."""
    found: Manifest = stage.server.objects.get(("DaskJob", name), {}).get("status", {})
    return found


async def again(stage: Stage) -> None:
    """A job is deleted and created again with the same name, 20 times: each has its own objects."""
    server = stage.server
    await stage.operator.start()
    moments = random.Random(20)
    jobs: list[str] = []
    for number in range(INCARNATIONS):
        last = number == INCARNATIONS - 1
        made = await server.create("DaskJob", fake_job("again", ends_after="0s" if last else ""))
        jobs.append(made["metadata"]["uid"])
        if not last:
            # From before the first pass to after its start.
            await asyncio.sleep(moments.choice((0, 0.02, 0.1, 0.3, 1.5)))
            await server.delete("DaskJob", "again")
    await server.until(lambda: ended(server.objects.get(("DaskJob", "again"), {})), LAST_SECONDS)
    assert server.objects["DaskJob", "again"]["metadata"]["uid"] == jobs[-1]
    assert (status(stage, "again")["jobStatus"], status(stage, "again")["attempt"]) == (
        "Successful",
        0,
    )
    await server.until(
        lambda: set(server.objects) == {("DaskJob", "again"), ("Pod", "again-runner")}
    )
    assert controller(server.objects["Pod", "again-runner"]) == jobs[-1]

    # Each runner is its job's, by its environment; and no object belongs to two jobs.
    runners = [v.object for v in server.versions if v.kind == "Pod" and v.name == "again-runner"]
    assert {controller(pod) for pod in runners} <= set(jobs)
    assert all(variable(pod, "DASKJOB_UID") == controller(pod) for pod in runners)
    assert violations(server, stage.writes) == []
    # Each incarnation is another object of the same name, with a start of its own.
    often, what = most_often(stage.writes, WINDOW_SECONDS, about_uid)
    assert often <= MOST_IN_WINDOW, f"{often} times in {WINDOW_SECONDS} s: {what}"
    reads = (request for request in stage.proxy.seen if not request.writes)
    often, what = most_often(reads, WINDOW_SECONDS)
    assert often <= MOST_IN_WINDOW + INCARNATIONS, f"{often} times in {WINDOW_SECONDS} s: {what}"
    assert "broke" not in stage.log


def variable(pod: Manifest, name: str) -> str:
    """Return an environment variable of a pod's first container."""
    env: list[Any] = pod["spec"]["containers"][0]["env"]
    return next(str(v["value"]) for v in env if v["name"] == name)


async def namespace_goes(stage: Stage) -> None:
    """A namespace is deleted with its jobs: nothing is left, and there is no hot loop."""
    server = stage.server
    await stage.operator.start()
    pid = stage.operator.pid
    for name in ("one", "two"):
        await server.create("DaskJob", fake_job(name))
    await server.until(
        lambda: all(says("Running")({"status": status(stage, n)}) for n in ("one", "two"))
    )
    await server.create("DaskJob", fake_job("three"))
    began = time.monotonic()
    await server.remove_namespace()
    async with asyncio.timeout(60):
        while await exists(stage):
            await asyncio.sleep(0.2)
    # The operator has no namespace any more: its Lease is gone too, and it waits for a new one.
    await asyncio.sleep(WINDOW_SECONDS)
    assert not server.objects
    assert (stage.operator.pid, stage.operator.running) == (pid, True)
    often, what = most_often((r for r in stage.proxy.seen if r.at >= began), WINDOW_SECONDS)
    assert often <= MOST_IN_WINDOW, f"{often} times in {WINDOW_SECONDS} s: {what}"
    assert violations(server, stage.writes) == []
    assert "broke" not in stage.log


async def exists(stage: Stage) -> bool:
    """Return whether the namespace still exists."""
    try:
        await stage.server.ask("GET", f"/api/v1/namespaces/{stage.server.namespace}")
    except NotThere:
        return False
    return True


#: The object that is changed by hand, and how the job ends: with its runner, or due to the change.
BY_HAND = {
    "runner-label": "Completed",
    "scheduler-label": "Completed",
    "service-label": "Completed",
    "group-label": "Completed",
    "worker-label": "Completed",
    "worker-owner": "Completed",
    # An object without an owner is foreign: it is not changed, and its name is taken.
    "service-owner": "NameConflict",
    "group-owner": "NameConflict",
    "scheduler-owner": "SchedulerLost",
    "runner-owner": "RunnerLost",
}
#: These get their labels back: by their owner reference, they are ours.
LABELLED_AGAIN = ("runner-label", "scheduler-label", "service-label", "worker-label")


def changed_by_hand(stage: Stage, case: str) -> tuple[str, str]:
    """Return the kind and name of the object that a case changes."""
    match case.partition("-")[0]:
        case "service":
            return "Service", f"{case}-scheduler"
        case "group":
            return "DaskWorkerGroup", f"{case}-default"
        case "worker":
            return next((k, n) for k, n in stage.server.objects if f"{case}-default-worker-" in n)
        case part:
            return "Pod", f"{case}-{part}"


async def by_hand(stage: Stage) -> None:
    """Labels and owners are removed from children: each job ends with a correct status."""
    server = stage.server
    await stage.operator.start()
    for case in BY_HAND:
        # Nothing is retried: the end of the attempt is reported as the end of the job.
        job = fake_job(case, failurePolicy={"maxIgnored": 0}, backoffLimit=0)
        await server.create("DaskJob", job)
    running = says("Running")
    await server.until(lambda: all(running({"status": status(stage, c)}) for c in BY_HAND))
    await server.until(lambda: len(worker_names(stage)) == 2 * len(BY_HAND))
    await stage.at_rest()

    changed = {case: changed_by_hand(stage, case) for case in BY_HAND}
    uids = {case: server.objects[key]["metadata"]["uid"] for case, key in changed.items()}
    for case, (kind, name) in changed.items():
        await server.patch(kind, name, DISOWNED if case.endswith("owner") else UNLABELLED)
    lost = [case for case, reason in BY_HAND.items() if reason != "Completed"]
    await server.until(lambda: all(ended({"status": status(stage, case)}) for case in lost))
    await server.until(lambda: all(labelled(stage, *changed[case]) for case in LABELLED_AGAIN))
    await stage.at_rest()
    # A worker without an owner is replaced, once.
    for case, workers in (("worker-label", 2), ("worker-owner", 3)):
        assert len([n for n in worker_names(stage) if n.startswith(case)]) == workers
    for case, key in changed.items():
        if BY_HAND[case] == "Completed" or (case.endswith("owner") and case != "group-owner"):
            assert server.objects[key]["metadata"]["uid"] == uids[case]

    for case in set(BY_HAND) - set(lost):
        await server.patch("Pod", f"{case}-runner", ENDS)
    await server.until(lambda: all(ended({"status": status(stage, case)}) for case in BY_HAND))
    assert {case: status(stage, case)["reason"] for case in BY_HAND} == BY_HAND
    # Objects without an owner are not changed, whatever their name. A group without an owner counts
    # as created by a user: it is deleted with the cluster that it names.
    cases = [case for case in BY_HAND if case.endswith("owner") and case != "group-owner"]
    disowned = {changed[case] for case in cases}
    assert not [r for r in stage.writes if r.verb == "delete" and ("Pod", r.name) in disowned]
    jobs = {("DaskJob", case) for case in BY_HAND}
    runners = {("Pod", f"{case}-runner") for case in BY_HAND}
    left = jobs | runners | disowned
    await server.until(lambda: set(server.objects) <= left)
    assert disowned <= set(server.objects)
    assert orphans(server) == []
    found = [words for words in violations(server, stage.writes) if "3 workers" not in words]
    assert found == []


def worker_names(stage: Stage) -> list[str]:
    """Return the names of all worker pods."""
    return [name for kind, name in stage.server.objects if kind == "Pod" and "-worker-" in name]


def labelled(stage: Stage, kind: str, name: str) -> bool:
    """Return whether an object has the label that selects it for the watch."""
    return "dask.org/cluster-name" in stage.server.objects[kind, name]["metadata"]["labels"]


async def ring(stage: Stage) -> None:
    """A cluster and a group that own each other do not affect other objects."""
    server = stage.server
    await stage.operator.start()
    spec = fake_job()["spec"]["cluster"]["spec"]
    cluster = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "spec": spec}
    await server.create("DaskCluster", {**cluster, "metadata": {"name": "ring"}})
    group = ("DaskWorkerGroup", "ring-default")
    await server.until(lambda: group in server.objects)
    reference = {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskWorkerGroup",
        "name": "ring-default",
        "uid": server.objects[group]["metadata"]["uid"],
        "controller": True,
    }
    await server.patch("DaskCluster", "ring", {"metadata": {"ownerReferences": [reference]}})
    await server.create("DaskJob", fake_job("good", ends_after="0s"))
    await server.until(lambda: ended(server.objects.get(("DaskJob", "good"), {})), 15)
    assert status(stage, "good")["jobStatus"] == "Successful"
    assert "broke" not in stage.log
    await stage.at_rest(3.0)


STORIES: dict[str, Story] = {
    "again": again,
    "namespace-goes": namespace_goes,
    "by-hand": by_hand,
    "ring": ring,
}


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, with_crds: Kubernetes, tmp_path_factory: pytest.TempPathFactory
) -> Results:
    """The results of the stories that tests of this run need."""
    with_crds.provider.fake_nodes(2)
    tests = "".join(item.name for item in request.session.items)
    wanted = {name: story for name, story in STORIES.items() if f"[{name}]" in tests}
    folder = tmp_path_factory.mktemp("names")
    return asyncio.run(side_by_side(wanted, with_crds.kubeconfig, folder, at_once=4))


@pytest.mark.parametrize("story", STORIES)
def test_one_runner_an_attempt_nothing_foreign_touched_and_nothing_left(
    story: str, results: Results
) -> None:
    assert_succeeded(results[story])
