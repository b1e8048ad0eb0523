"""Bad input fails alone, with a reason, without frequent retries; other jobs are not affected.

Each kind of it has a namespace, with a job that runs all the time and one that is created later.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.cluster.fake_nodes import ENDS_AFTER, fake_placement
from tests.cluster.plugin import Kubernetes
from tests.cluster.proxy import Request
from tests.operator.clusters import fake_cluster
from tests.operator.history import Manifest, Server
from tests.operator.invariants import about, most_often, violations
from tests.operator.jobs import condition, container, ended, fake_job, pod_spec, says
from tests.operator.staged import Results, Stage, Story, assert_succeeded, side_by_side
from tests.waiting import until

#: Time limit of a job after bad ones: the same as without them, on a slow machine.
GOOD_SECONDS = 15.0
#: After the first minute of tries the next one is as far away as the first: no earlier than this.
RARELY_SECONDS = 50.0
#: A name that is taken is tried again after 2 s at the earliest.
TAKEN_PAUSE_SECONDS = 1.5
#: At most this many tries until then: waits of 2, 4 and 8 s, then of 10 s.
MOST_TRIES = 10


def bad(name: str = "bad", **more: Any) -> Manifest:
    """A job with two workers, to be made invalid."""
    return fake_job(name, **more)


def runner(job: Manifest) -> Manifest:
    """The PodSpec of a job's runner."""
    found: Manifest = job["spec"]["job"]["spec"]
    return found


def part(job: Manifest, name: str) -> Manifest:
    """The PodSpec of a job's scheduler, or of its workers."""
    found: Manifest = job["spec"]["cluster"]["spec"][name]["spec"]
    return found


# Objects that can never be created


def deep() -> str:
    job = bad("deep")
    runner(job)["depth"] = "HERE"
    return nested(job)


def nested(manifest: Manifest) -> str:
    """Return the manifest as text, with 2,000 nested mappings in one place.

    Python's limit is below 1,000; with ten thousand, a write takes the API server seconds.
    """
    return json.dumps(manifest).replace('"HERE"', '{"a":' * 2000 + "1" + "}" * 2000)


def large() -> Manifest:
    """A job that fits into etcd, while its scheduler, to which the agent is added, does not."""
    job = bad("large")
    part(job, "scheduler")["containers"][0]["env"] = [{"name": "DATA", "value": "x" * 1_565_000}]
    return job


def annotated() -> Manifest:
    job = bad("annotated")
    job["spec"]["job"]["metadata"]["annotations"]["data"] = "x" * 300_000
    return job


def misnamed() -> Manifest:
    job = bad("misnamed")
    runner(job)["containers"][0]["name"] = "Not a name"
    return job


def mistyped() -> Manifest:
    job = bad("mistyped")
    runner(job)["terminationGracePeriodSeconds"] = "soon"
    return job


def workers_mistyped() -> Manifest:
    job = bad("workers-mistyped")
    part(job, "worker")["terminationGracePeriodSeconds"] = "soon"
    return job


#: Jobs, and a pattern for their message.
NEVER: dict[str, tuple[Callable[[], Manifest | str], str]] = {
    "deep": (deep, "nest at most 100 mappings and lists"),
    "large": (large, "large-scheduler is rejected: etcdserver: request is too large"),
    "annotated": (annotated, "annotated-runner is rejected.*may not be more than 262144 bytes"),
    "misnamed": (misnamed, r"containers\[0\]\.name: Invalid value: \"Not a name\""),
    "mistyped": (mistyped, "cannot unmarshal string into .*terminationGracePeriodSeconds"),
    "workers-mistyped": (workers_mistyped, "-worker-.* is rejected: .*cannot unmarshal string"),
}


async def never(stage: Stage) -> None:
    """Invalid specs fail their jobs at once; they are tried again only until the job has ended."""
    async with good_jobs(stage):
        for manifest, _ in NEVER.values():
            await stage.server.create("DaskJob", manifest())
        jobs = [("DaskJob", name) for name in NEVER]
        await stage.server.until(lambda: all(ended(stage.server.objects.get(j, {})) for j in jobs))
    for name, (_, words) in NEVER.items():
        status = stage.server.objects["DaskJob", name]["status"]
        assert (status["jobStatus"], status["reason"]) == ("Failed", "InvalidSpec")
        assert re.search(words, status["message"]), status["message"]
        assert condition(stage.server.objects["DaskJob", name], "Failed")["status"] == "True"
        # A first retry is due after 2 s, and a slow machine may need longer to end the job.
        assert most_tries(stage, f"{name}-") in ((0,) if name == "deep" else (1, 2))


async def clusters(stage: Stage) -> None:
    """An invalid cluster and an invalid group report it, and are not retried."""
    spec = bad()["spec"]["cluster"]["spec"]
    meta = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster"}
    spec["scheduler"]["spec"]["depth"] = "HERE"
    worse = {**meta, "metadata": {"name": "deep"}, "spec": spec}
    async with good_jobs(stage):
        await stage.server.create("DaskCluster", nested(worse))
        await stage.server.until(
            lambda: said(stage, "DaskCluster", "deep", "SchedulerReady") == "InvalidSpec"
        )
    found = condition(stage.server.objects["DaskCluster", "deep"], "SchedulerReady")
    assert "nest at most 100" in found["message"]


# Names that are taken by foreign objects


def foreign(kind: str, name: str) -> Manifest:
    """A foreign object, labelled as if it were the job's."""
    spec: Manifest = {"ports": [{"port": 80}]}
    if kind == "Pod":
        spec = {**pod_spec(container("none", "theirs")), **fake_placement()}
    elif kind == "DaskCluster":
        spec = bad()["spec"]["cluster"]["spec"]
    elif kind == "DaskWorkerGroup":
        spec = {"cluster": "nobody", "worker": bad()["spec"]["cluster"]["spec"]["worker"]}
    ours = kind.startswith("Dask")
    labels = {"dask.org/cluster-name": name.split("-")[0]}
    return {
        "apiVersion": "kubernetes.dask.org/v1" if ours else "v1",
        "kind": kind,
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


#: The job, and the foreign object that has its name.
TAKEN = {
    "one": ("Pod", "one-runner"),
    "two": ("Pod", "two-scheduler"),
    "three": ("Service", "three-scheduler"),
    "four": ("DaskCluster", "four"),
    "five": ("DaskWorkerGroup", "five-default"),
}


async def taken(stage: Stage) -> None:
    """A job fails if an object's name is taken; the foreign object stays unchanged."""
    server = stage.server
    for kind, name in TAKEN.values():
        await server.create(kind, foreign(kind, name))
    async with good_jobs(stage):
        await stage.at_rest()
        uids = {key: server.objects[key]["metadata"]["uid"] for key in TAKEN.values()}
        for name in TAKEN:
            await server.create("DaskJob", bad(name))
        await server.until(
            lambda: all(ended(server.objects.get(("DaskJob", n), {})) for n in TAKEN)
        )
    for name, key in TAKEN.items():
        status = server.objects["DaskJob", name]["status"]
        assert (status["jobStatus"], status["reason"]) == ("Failed", "NameConflict"), status
        assert key[1] in status["message"]
        found = server.objects[key]["metadata"]
        assert (found["uid"], found.get("deletionTimestamp")) == (uids[key], None)
        assert "ownerReferences" not in found
        assert not [r for r in stage.writes if r.verb == "delete" and r.name == key[1]]
        # A busy operator may try once more, after a pause, before it deletes the failed cluster.
        assert most_often(creations(stage, key[1]), TAKEN_PAUSE_SECONDS)[0] == 1


async def taken_beside(stage: Stage) -> None:
    """The same for a job's files, and for an autoscaler, which is reported on its cluster."""
    server = stage.server
    config_map = {**foreign("ConfigMap", "files-files"), "data": {"theirs.py": ""}}
    del config_map["spec"]
    autoscaler = foreign("DaskAutoscaler", "scaled-default")
    autoscaler["spec"] = {"cluster": "nobody", "minimum": 1, "maximum": 2}
    made = [await server.create(m["kind"], m) for m in (config_map, autoscaler)]

    job = bad("files")
    job["spec"]["job"]["files"] = {"ours.py": ""}
    cluster = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster"}
    spec = bad()["spec"]["cluster"]["spec"]
    spec["worker"]["autoscaling"] = {"minimum": 1, "maximum": 2}
    async with good_jobs(stage):
        await server.create("DaskJob", job)
        await server.create(
            "DaskCluster", {**cluster, "metadata": {"name": "scaled"}, "spec": spec}
        )
        await server.until(lambda: ended(server.objects.get(("DaskJob", "files"), {})))
        await server.until(
            lambda: said(stage, "DaskCluster", "scaled", "WorkersReady") == "NameConflict"
        )
    status = server.objects["DaskJob", "files"]["status"]
    assert (status["reason"], "files-files" in status["message"]) == ("NameConflict", True)
    told = condition(server.objects["DaskCluster", "scaled"], "WorkersReady")["message"]
    assert "scaled-default" in told
    for before in made:
        now = await server.get(before)
        assert now["metadata"]["uid"] == before["metadata"]["uid"]
        assert "ownerReferences" not in now["metadata"]
        assert [now.get(part) for part in ("spec", "data")] == [
            before.get(part) for part in ("spec", "data")
        ]


# Quotas, policies and webhooks


async def quota(stage: Stage) -> None:
    """Pods above a quota wait: that is not a failure."""
    full = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}}
    async with good_jobs(stage):
        # Only pods with resource requests are counted.
        scoped = {"hard": {"pods": "0"}, "scopes": ["NotBestEffort"]}
        await stage.server.create("ResourceQuota", {**full, "spec": scoped})
        await until_counted(stage.server, "few")
        job = bad()
        asks(job, {"requests": {"cpu": "1"}})
        await stage.server.create("DaskJob", job)
        await waits_with(stage, "QuotaExceeded", "exceeded quota: few")
    assert most_tries(stage, "bad-") <= 3


async def until_counted(server: Server, name: str) -> None:
    """Wait until a quota has counted existing objects: until then it admits everything."""
    path = f"/api/v1/namespaces/{server.namespace}/resourcequotas/{name}"

    async def counted() -> object:
        return (await server.ask("GET", path)).get("status", {}).get("used")

    await until(counted, 30, pause=0.1)


def asks(job: Manifest, resources: Manifest) -> None:
    """Set the resources of all pods of a job."""
    for spec in (runner(job), part(job, "scheduler"), part(job, "worker")):
        spec["containers"][0]["resources"] = resources


async def pod_security(stage: Stage) -> None:
    """A pod that violates the namespace's Pod Security standard is rejected with its message."""
    enforced = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}}
    await stage.server.ask(
        "PATCH",
        f"/api/v1/namespaces/{stage.server.namespace}",
        data=json.dumps(enforced),
        headers={"Content-Type": "application/merge-patch+json"},
    )
    job = bad()
    runner(job)["containers"][0]["securityContext"] = {"privileged": True}
    async with good_jobs(stage):
        await stage.server.create("DaskJob", job)
        await waits_with(stage, "Rejected", 'violates PodSecurity "baseline')
    await rarely_tried(stage)


async def policy(stage: Stage) -> None:
    """A pod that an admission policy denies is rejected with its message."""
    async with denying(stage.server):
        job = bad()
        job["spec"]["job"]["metadata"]["labels"] = {"team": "nobody"}
        async with good_jobs(stage):
            await stage.server.create("DaskJob", job)
            await waits_with(stage, "Rejected", "no team is called nobody")
        await rarely_tried(stage)


async def denied_change(stage: Stage) -> None:
    """A change that an admission policy denies is reported on the object, and waits."""
    server = stage.server
    events = f"/api/v1/namespaces/{server.namespace}/events?fieldSelector=reason=ChangeDenied"

    def workers() -> int | None:
        group = server.objects.get(("DaskWorkerGroup", "simple-default"))
        return group["spec"]["worker"]["replicas"] if group else None

    async with denying(server):
        async with good_jobs(stage):
            await server.create("DaskCluster", fake_cluster(1))
            await server.until(lambda: workers() == 1)
            await server.patch("DaskCluster", "simple", {"spec": {"worker": {"replicas": 7}}})
            async with asyncio.timeout(30):
                while not (told := (await server.ask("GET", events))["items"]):
                    await asyncio.sleep(0.2)
        about = told[0]["involvedObject"]
        assert (about["kind"], about["name"]) == ("DaskCluster", "simple")
        assert re.search("simple-default.*nobody may have 7 workers", told[0]["message"]), told
        assert workers() == 1
    await server.patch("DaskCluster", "simple", {"spec": {"worker": {"replicas": 2}}})
    await server.until(lambda: workers() == 2)


@asynccontextmanager
async def denying(server: Server) -> Any:
    """Create a policy that denies pods with a certain label, and 7 workers, in the namespace."""
    path = "/apis/admissionregistration.k8s.io/v1"
    name = f"teams-{uuid.uuid4().hex[:8]}"
    here = {"matchLabels": {"kubernetes.io/metadata.name": server.namespace}}
    pods = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
    }
    groups = {
        "apiGroups": ["kubernetes.dask.org"],
        "apiVersions": ["v1"],
        "operations": ["UPDATE"],
        "resources": ["daskworkergroups"],
    }
    teams = {
        "expression": "!has(object.metadata.labels) || !('team' in object.metadata.labels)"
        " || object.metadata.labels['team'] != 'nobody'",
        "message": "no team is called nobody",
    }
    sizes = {
        "expression": "object.kind != 'DaskWorkerGroup' || object.spec.worker.replicas != 7",
        "message": "nobody may have 7 workers",
    }
    admission = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    rules = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [pods, groups], "namespaceSelector": here},
        "validations": [teams, sizes],
    }
    binding = {"policyName": name, "validationActions": ["Deny"]}
    policies, bindings = (
        f"{path}/validatingadmissionpolicies",
        f"{path}/validatingadmissionpolicybindings",
    )
    made = {**admission, "kind": "ValidatingAdmissionPolicy", "spec": rules}
    await server.ask("POST", policies, json=made)
    made = {**admission, "kind": "ValidatingAdmissionPolicyBinding", "spec": binding}
    await server.ask("POST", bindings, json=made)
    try:
        await until_denied(server)
        yield
    finally:
        await server.ask("DELETE", f"{bindings}/{name}")
        await server.ask("DELETE", f"{policies}/{name}")


async def webhook(stage: Stage) -> None:
    """Pods behind a failing webhook are reported, and created once the webhook is removed."""
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    name = f"down-{uuid.uuid4().hex[:8]}"
    service = {"namespace": stage.server.namespace, "name": "nobody"}
    hook = {
        "name": "down.example.com",
        "clientConfig": {"service": service},
        "namespaceSelector": {
            "matchLabels": {"kubernetes.io/metadata.name": stage.server.namespace}
        },
        "objectSelector": {"matchLabels": {"team": "nobody"}},
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["pods"],
            }
        ],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    made = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [hook],
    }
    await stage.server.ask("POST", path, json=made)
    try:
        await until_denied(stage.server)
        job = fake_job("bad", ends_after="0s")
        job["spec"]["job"]["metadata"]["labels"] = {"team": "nobody"}
        async with good_jobs(stage):
            await stage.server.create("DaskJob", job)
            await waits_with(stage, "Rejected", 'failed calling webhook "down.example.com"')
    finally:
        await stage.server.ask("DELETE", f"{path}/{name}")
    await stage.server.until(
        lambda: ended(stage.server.objects["DaskJob", "bad"]), 70 + GOOD_SECONDS
    )
    status = stage.server.objects["DaskJob", "bad"]["status"]
    assert (status["jobStatus"], status.get("failures", 0)) == ("Successful", 0)


async def until_denied(server: Server) -> None:
    """Wait until the API server applies the policy."""
    pod = foreign("Pod", "probe")
    pod["metadata"]["labels"] = {"team": "nobody"}
    path = f"/api/v1/namespaces/{server.namespace}/pods?dryRun=All"
    async with asyncio.timeout(30):
        while True:
            try:
                await server.ask("POST", path, json=pod)
            except AssertionError:
                return
            await asyncio.sleep(0.1)


# Foreign objects that look like ours


async def odd_pods(stage: Stage) -> None:
    """Whatever metadata foreign pods have, the cache can be read, and they are not changed."""
    attempt = "kubernetes.dask.org/attempt"
    names = ("odd-runner", "odd-2", "odd-3")
    for name, text in zip(names, ("²", "9" * 5000, "-1"), strict=True):
        pod = foreign("Pod", name)
        pod["metadata"]["annotations"] = {attempt: text}
        pod["metadata"]["labels"]["dask.org/component"] = "job-runner"
        await stage.server.create("Pod", pod)
    endless = foreign("Pod", "odd-4")
    endless["spec"]["terminationGracePeriodSeconds"] = 2**53
    async with good_jobs(stage):
        await stage.server.create("Pod", endless)
        await stage.server.until(lambda: ("Pod", "odd-4") in stage.server.objects)
    assert "broke" not in stage.log
    assert not [r for r in stage.writes if r.name in (*names, "odd-4")]


# The stories


STORIES: dict[str, Story] = {
    "never": never,
    "clusters": clusters,
    "taken": taken,
    "taken-beside": taken_beside,
    "quota": quota,
    "pod-security": pod_security,
    "policy": policy,
    "denied-change": denied_change,
    "webhook": webhook,
    "odd-pods": odd_pods,
}

#: These wait for a minute and must not delay the others.
PATIENT = ("pod-security", "policy", "webhook")


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, with_crds: Kubernetes, tmp_path_factory: pytest.TempPathFactory
) -> Results:
    """The results of the stories that tests of this run need."""
    with_crds.provider.fake_nodes(2)
    tests = {item.name for item in request.session.items}
    wanted = {n: story for n, story in STORIES.items() if any(f"[{n}]" in t for t in tests)}
    folder = tmp_path_factory.mktemp("bad-input")
    runs = side_by_side(wanted, with_crds.kubeconfig, folder, at_once=3, beside=PATIENT)
    return asyncio.run(runs)


@pytest.mark.parametrize("story", STORIES)
def test_bad_input_fails_alone_with_a_reason_and_few_retries(story: str, results: Results) -> None:
    assert_succeeded(results[story])


@asynccontextmanager
async def good_jobs(stage: Stage) -> Any:
    """Run a good job during the block, and another one from start to end after it."""
    server = stage.server
    await stage.operator.start()
    await server.create("DaskJob", fake_job("busy"))
    await server.until(lambda: says("Running")(server.objects.get(("DaskJob", "busy"), {})))
    await stage.at_rest()
    yield
    began = time.monotonic()
    await server.create("DaskJob", fake_job("good", ends_after="0s"))
    await server.until(lambda: ended(server.objects.get(("DaskJob", "good"), {})), GOOD_SECONDS)
    print(f"{stage.folder.name:14} a good job took {time.monotonic() - began:.1f} s")
    assert says("Running")(server.objects["DaskJob", "busy"])
    await server.patch("Pod", "busy-runner", {"metadata": {"annotations": {ENDS_AFTER: "0s"}}})
    await server.until(lambda: ended(server.objects["DaskJob", "busy"]), GOOD_SECONDS)
    for name in ("busy", "good"):
        status = server.objects["DaskJob", name]["status"]
        assert (status["jobStatus"], status.get("failures", 0)) == ("Successful", 0)
    assert stage.operator.running
    assert violations(server, stage.writes) == []


def said(stage: Stage, kind: str, name: str, which: str) -> str:
    """Return the reason of an object's condition."""
    return str(condition(stage.server.objects.get((kind, name), {}), which).get("reason", ""))


async def waits_with(stage: Stage, reason: str, words: str) -> None:
    """Wait until the bad job's condition has this reason and message; it has not ended."""
    await stage.server.until(lambda: said(stage, "DaskJob", "bad", "RunnerReady") == reason)
    found = stage.server.objects["DaskJob", "bad"]
    assert words in condition(found, "RunnerReady")["message"], found["status"]["conditions"]
    assert not ended(found)


def creations(stage: Stage, words: str) -> list[Request]:
    """Return the creations of objects whose names contain this text."""
    return [
        request
        for request in stage.proxy.seen
        if (what := about(request)).startswith("create ") and "events" not in what and words in what
    ]


def tries(stage: Stage, words: str) -> dict[str, int]:
    """Return the number of creations per object, for names that contain this text."""
    return dict(Counter(map(about, creations(stage, words))))


def most_tries(stage: Stage, words: str) -> int:
    """Return the largest number of creations of one object."""
    return max(tries(stage, words).values(), default=0)


async def rarely_tried(stage: Stage) -> None:
    """Assert that a rejected object is tried often for a minute only, and rarely after it."""

    def planned() -> float:
        looks = re.findall(r"DaskJob \S+/bad: pass done; next in ([\d.]+) s", stage.log)
        return float(looks[-1])

    await until(lambda: planned() >= RARELY_SECONDS, 90, planned, pause=0.2)
    found = tries(stage, "bad-runner")
    assert list(found) == ["create pods bad-runner"]
    assert found["create pods bad-runner"] <= MOST_TRIES
