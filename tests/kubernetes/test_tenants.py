"""What a tenant writes into an ownerReference, or answers late, concerns no other tenant."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from daskjob.backends.agent_answers import NoAnswer
from daskjob.backends.background import BackgroundTasks
from daskjob.backends.kubernetes.asking.agents import Endpoint
from daskjob.backends.kubernetes.asking.reports import Reports
from daskjob.backends.kubernetes.backend import KubernetesBackend
from daskjob.core import names
from daskjob.core.errors import CreateRejected, RejectionKind
from daskjob.core.manifests import Key, Manifest, ObjectRef, metadata
from daskjob.core.observed import CollectedReport, Platform
from daskjob.core.pods import PodFacts
from daskjob.kube.access import Access
from daskjob.kube.api import Api
from daskjob.kube.errors import AlreadyExists
from tests.core import manifests
from tests.kubernetes.given import Cluster, Plain, pod, seen
from tests.kubernetes.passing import Passing, passing, ref_of
from tests.waiting import until

VICTIM = Key(names.Kind.JOB, "victim", "sums")


class Given:
    """A job, and in another namespace a cluster that claims to be that job's."""

    def __init__(self) -> None:
        api = Api(Plain(Access("http://nowhere.invalid")))
        self.backend = KubernetesBackend(api, Platform())
        self.woken: list[Key] = []
        self._version = 0
        job = manifests.job()
        metadata(job)["namespace"] = "victim"
        self.put(job, "uid-job")
        cluster = manifests.cluster("sums")
        metadata(cluster)["namespace"] = "attacker"
        self.put(_owned(cluster, "DaskJob", "uid-job"), "uid-cluster")
        self.backend.subscribe(lambda key, within=0.0: self.woken.append(key))  # noqa: ARG005

    def put(self, manifest: Manifest, uid: str) -> None:
        self._version += 1
        self.backend.cache.put(seen(manifest, self._version, uid))


def _owned(manifest: Manifest, kind: str, uid: str) -> Manifest:
    owner = {"kind": kind, "name": "sums", "uid": uid, "controller": True}
    metadata(manifest)["ownerReferences"] = [owner]
    return manifest


def _rejection() -> CreateRejected:
    return CreateRejected(RejectionKind.INVALID, "Pod sums-scheduler", "the name is invalid")


async def test_a_rejection_for_an_object_of_another_namespace_is_not_the_jobs() -> None:
    given = Given()
    rejections = given.backend._writer.rejections
    scheduler = ObjectRef("Pod", "attacker", "sums-scheduler")
    rejections.rejected(("attacker", "uid-cluster"), scheduler, _rejection())
    observed = await given.backend.observe(VICTIM)
    assert observed is not None
    assert observed.rejections == {}


async def test_a_rejection_for_an_earlier_object_of_the_name_is_not_the_jobs() -> None:
    given = Given()
    rejections = given.backend._writer.rejections
    scheduler = ObjectRef("Pod", "victim", "sums-scheduler")
    rejections.rejected(("victim", "uid-earlier"), scheduler, _rejection())
    observed = await given.backend.observe(VICTIM)
    assert observed is not None
    assert observed.rejections == {}


def test_a_change_wakes_no_pass_of_another_namespace() -> None:
    given = Given()
    runner = pod("sums-runner", "attacker", cluster="other")
    given.put(_owned(runner, "DaskJob", "uid-job"), "uid-runner")
    assert given.woken == []
    given.backend._wakes.rejected(Key(names.Kind.CLUSTER, "attacker", "sums"))
    assert given.woken == []


def test_a_pod_that_vanishes_is_no_missing_pod_of_another_namespace() -> None:
    given = Given()
    runner = pod("sums-runner", "attacker", cluster="other")
    given.put(_owned(runner, "DaskJob", "uid-job"), "uid-runner")
    given.backend.cache.remove(ObjectRef("Pod", "attacker", "sums-runner", "uid-runner"), 99)
    assert given.backend._missing_pods._vanished == {}


# On a real Kubernetes


async def test_a_cluster_that_claims_another_tenants_job_does_not_end_it(
    with_crds: Cluster, fresh: Callable[[], str]
) -> None:
    victim, attacker = fresh(), fresh()
    async with passing(with_crds, victim, attacker) as found:
        key = Key(names.Kind.JOB, victim, "sums")
        await found.others.create(unscheduled(manifests.job(), victim))
        await until(lambda: found.pod(key, "sums-scheduler"))
        cluster = unscheduled(manifests.cluster("sums"), attacker)
        _owned(cluster, "DaskJob", ref_of(found, key).uid)
        owner = metadata(cluster)["ownerReferences"][0]
        owner["apiVersion"] = cluster["apiVersion"]
        cluster["spec"]["scheduler"]["spec"]["containers"][0]["name"] = "No Name"

        async def claims() -> bool:
            # The garbage collector deletes an object whose owner is in another namespace, and may
            # be faster than the first pass.
            with suppress(AlreadyExists):
                await found.others.create(copy.deepcopy(cluster))
            return _was_rejected(found, attacker)

        await until(claims, pause=0.2)
        await found.at_rest()
        assert found.status(key)["jobStatus"] != "Failed"
        assert found.pod(key, "sums-runner") is not None


def _was_rejected(found: Passing, namespace: str) -> bool:
    """Return whether the API server rejected a pod of a namespace."""
    asked = found.proxy.requests("create", "pods")
    return any((r.namespace, r.code) == (namespace, 422) for r in asked)


def unscheduled(manifest: Manifest, namespace: str) -> Manifest:
    """A job or cluster of a namespace, whose pods no Kubernetes scheduler looks at."""
    metadata(manifest)["namespace"] = namespace
    spec = manifest["spec"]
    parts = [spec["job"]] if "job" in spec else []
    cluster = spec["cluster"]["spec"] if "cluster" in spec else spec
    for template in (*parts, cluster["scheduler"], cluster["worker"]):
        template["spec"]["schedulerName"] = "none"
    return manifest


# Late answers


class _Agents:
    """Agents that answer nothing usable."""

    async def ask(self, _endpoint: Endpoint, _route: str) -> Manifest:
        raise NoAnswer("no")

    def record(self, *_of: object) -> None:
        raise AssertionError("nothing was answered")


SCHEDULER = PodFacts(ObjectRef("Pod", "victim", "sums-scheduler", "uid-s"), owner_uid="uid-c")
ENDPOINT = Endpoint("http://127.0.0.1:1", "t", "i")


async def test_a_report_without_an_answer_is_a_result_that_wakes_the_pass() -> None:
    woken: list[Key] = []
    background = BackgroundTasks()
    agents: Any = _Agents()
    reports = Reports(agents, woken.append, lambda _uid: True, background.start)
    for _ in range(3):
        reports.ask(VICTIM, SCHEDULER, ENDPOINT, 0)
    assert (len(background), reports.of("uid-s")) == (1, None), "no pass waits for it"
    await next(iter(background._tasks))
    assert (reports.of("uid-s"), woken) == (CollectedReport(None), [VICTIM])


async def test_a_report_that_arrives_after_its_scheduler_went_is_discarded() -> None:
    woken: list[Key] = []
    background = BackgroundTasks()
    agents: Any = _Agents()
    reports = Reports(agents, woken.append, lambda _uid: False, background.start)
    reports.ask(VICTIM, SCHEDULER, ENDPOINT, 0)
    await next(iter(background._tasks))
    assert (reports._reports, reports._under_way) == ({}, set())
