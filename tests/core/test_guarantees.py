"""The guarantees of design §4, for any order of events, crashes and repeats.

Hypothesis generates a job's life: passes over single objects, pods that start, end and vanish,
edits of users and old clients, an operator killed between two writes. ``WatchedWorld`` checks every
write. After the story the world runs by itself, in one of the moods of ``Mood``: it must become
idle, and the job must end, woken only by changes and by the wake times of its passes. Then the job
is deleted, and nothing may be left.

``DASKJOB_PROPERTY_EXAMPLES=3000`` sets the number of stories, with new ones in every run.
"""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from daskjob.core import names
from daskjob.core.errors import RejectionKind
from daskjob.core.manifests import Key, Manifest, controller_uid, metadata, object_ref
from daskjob.core.pod_warnings import PodWarning
from daskjob.core.pods import pod_facts
from tests.core import manifests
from tests.core.dask_kubernetes import left, old_job
from tests.core.guarantees import Crash, WatchedWorld, attempt_of, condition, is_finished

EXAMPLES = os.environ.get("DASKJOB_PROPERTY_EXAMPLES")
SETTINGS = settings(
    max_examples=int(EXAMPLES or 150),
    derandomize=EXAMPLES is None,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

NAME = "j"
JOB = Key(names.Kind.JOB, "default", NAME)
CLUSTER = Key(names.Kind.CLUSTER, "default", NAME)
SHARED = "shared"
#: A user-made group, in the job's cluster or another.
JOINED = Key(names.Kind.GROUP, "default", "mine")

#: Fields of a DaskJob that old clients do not know.
NEW_FIELDS = (
    "backoffLimit",
    "backoff",
    "failurePolicy",
    "onSchedulerLoss",
    "activeDeadlineSeconds",
    "attemptDeadlineSeconds",
    "startupDeadlineSeconds",
    "stallDeadlineSeconds",
    "stallAction",
    "ttlSecondsAfterFinished",
    "deletionPolicy",
    "suspend",
    "cancel",
    "runnerStart",
    "minAvailableWorkers",
    "submissionID",
    "progress",
)
LONG_MESSAGE = "a webhook with long messages " * 200


@pytest.fixture(autouse=True)
def _invariants() -> None:
    """Skip conftest's check at a test's end: here every write is checked."""


# Jobs

RULES = st.lists(
    st.sampled_from(
        [
            {
                "name": "three",
                "action": "FailJob",
                "onExitCodes": {"operator": "In", "values": [3]},
            },
            {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [1]}},
            {"action": "Count", "onReasons": ["Evicted", "RunnerLost"]},
            {"name": "lost", "action": "FailJob", "onReasons": ["SchedulerLost"]},
            {"action": "Ignore", "onReasons": ["OOMKilled", "AttemptDeadlineExceeded"]},
        ]
    ),
    max_size=2,
)
#: Mostly none: a job without a limit must end too. Null counts as absent.
DEADLINES = st.sampled_from([None, None, None, 5, 60, 900])
DELETIONS = st.sampled_from(["DeleteCluster", "DeleteWorkers", "Keep"])
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "backoffLimit": st.integers(0, 2),
        "backoff": st.fixed_dictionaries({"initialSeconds": st.sampled_from([0, 0, 10])}),
        "failurePolicy": st.fixed_dictionaries(
            {},
            optional={
                "rules": RULES,
                "maxIgnored": st.integers(0, 2),
                "restart": st.sampled_from(["Cluster", "Runner"]),
            },
        ),
        "onSchedulerLoss": st.sampled_from(["Fail", "Ignore"]),
        "activeDeadlineSeconds": DEADLINES,
        "attemptDeadlineSeconds": DEADLINES,
        "startupDeadlineSeconds": DEADLINES,
        "stallDeadlineSeconds": st.sampled_from([30, 300]),
        "stallAction": st.sampled_from(["Report", "Fail"]),
        "ttlSecondsAfterFinished": st.sampled_from([1, 60, 3600]),
        "deletionPolicy": st.fixed_dictionaries(
            {}, optional={"onSuccess": DELETIONS, "onFailure": DELETIONS}
        ),
        "suspend": st.booleans(),
        "runnerStart": st.sampled_from(["AtOnce", "AfterScheduler", "AfterWorkers"]),
        "progress": st.fixed_dictionaries({"intervalSeconds": st.sampled_from([0, 30])}),
    },
)


@st.composite
def job_manifests(draw: st.DrawFn) -> Manifest:
    """Generate a job as a user might submit it: it may be unable to work, but is never invalid."""
    policy: Manifest = draw(POLICIES)
    containers = [manifests.container("job", "python")]
    if draw(st.booleans()):
        containers.append(manifests.container("sidecar", "log"))
    runner: Manifest = {"containers": containers}
    restart = draw(st.sampled_from([None, "Never", "OnFailure"]))
    if restart:
        runner["restartPolicy"] = restart
    if draw(st.integers(0, 7)) == 7:
        policy.pop("deletionPolicy", None)
        policy.get("failurePolicy", {}).pop("restart", None)
        return manifests.job(NAME, runner=runner, clusterRef={"name": SHARED}, **policy)
    cluster = _cluster_spec(draw)
    if policy.get("runnerStart") == "AfterWorkers" and cluster["worker"]["replicas"]:
        policy["minAvailableWorkers"] = 1
    job = manifests.job(NAME, runner=runner, cluster={"spec": cluster}, **policy)
    if draw(st.booleans()):
        job["spec"]["job"]["files"] = {"script.py": "print(1)"}
    return job


#: Mostly none: with constant counts a life gets further.
AUTOSCALING = st.sampled_from(
    [
        None,
        None,
        {"maximum": 2, "scaleDownDelaySeconds": 0},
        {"minimum": 1, "maximum": 3, "scaleDownDelaySeconds": 30},
    ]
)


def _cluster_spec(draw: st.DrawFn) -> Manifest:
    cluster = manifests.cluster_spec(draw(st.integers(0, 2)))
    autoscaling = draw(AUTOSCALING)
    if autoscaling is not None:
        cluster["worker"]["autoscaling"] = autoscaling
    if draw(st.booleans()):
        worker = manifests.pod(manifests.container("worker", "dask-worker"))
        cluster["workerGroups"] = [{"name": "gpu", "replicas": 1, "spec": worker}]
    if draw(st.integers(0, 3)) == 3:
        cluster["idleTimeout"] = 300
    if draw(st.integers(0, 3)) == 3:
        cluster["scheduler"]["spec"]["restartPolicy"] = "Never"
    return cluster


# Foreign objects


def neighbours() -> list[Manifest]:
    """Return foreign objects with our labels and with names like ours."""
    owner: Manifest = {"kind": "ReplicaSet", "metadata": {"name": "j", "namespace": "default"}}
    labelled = [
        _foreign("Pod", "j-runner-7", "job-runner"),
        _foreign("Pod", "j-scheduler-old", "scheduler"),
        _foreign("Pod", "j-default-worker-ffffffffff", "worker"),
        _foreign("Service", "j-scheduler-old", "scheduler"),
        _foreign("ConfigMap", "j-file", ""),
        _foreign("DaskCluster", "j-runner", ""),
        _foreign("DaskWorkerGroup", "j-runner-default", "workergroup"),
    ]
    elsewhere = [_foreign("Pod", f"j-{part}", part) for part in ("runner", "scheduler")]
    for item in elsewhere:
        item["metadata"]["namespace"] = "other"
    return [owner, *labelled, *elsewhere]


def _foreign(kind: str, name: str, component: str) -> Manifest:
    labels = {names.LABEL_CLUSTER_NAME: NAME, names.LABEL_COMPONENT: component}
    labels[names.LABEL_WORKERGROUP_NAME] = "j-default"
    meta = {
        "name": name,
        "namespace": "default",
        "labels": labels,
        "annotations": {names.ANNOTATION_ATTEMPT: "0"},
    }
    spec = {"containers": [{"name": "main"}]} if kind == "Pod" else {"cluster": "j-runner"}
    return {"apiVersion": "v1", "kind": kind, "metadata": meta, "spec": spec}


#: Names that another user may take before the job does.
TAKEN = [
    ("Pod", "runner"),
    ("Pod", f"{NAME}-scheduler"),
    ("Service", f"{NAME}-scheduler"),
    ("DaskCluster", NAME),
    ("DaskWorkerGroup", f"{NAME}-default"),
    ("DaskWorkerGroup", f"{NAME}-gpu"),
    ("ConfigMap", f"{NAME}-files"),
]


class Mood(StrEnum):
    """The world's behaviour towards the job once the story has ended."""

    KIND = "everything starts, and the runner exits with 0"
    SCRIPT_FAILS = "everything starts, and every runner exits with 1"
    SIDECAR_STAYS = "everything starts, the main container exits with 0, a sidecar keeps running"
    EVICTIONS = "every runner is evicted"
    SCHEDULER_DIES = "the scheduler restarts as soon as the runner runs"
    SCHEDULER_SILENT = "the scheduler never answers"
    SCHEDULER_ENDS = "the scheduler's pod ends permanently before it answers"
    WORKERS_CRASH = "workers restart continuously"
    NO_WORKERS = "workers get no node"
    NO_NODE = "no pod gets a node"
    NO_QUOTA = "the runner exceeds the quota"
    REJECTED = "a webhook rejects the runner"
    NO_IMAGE = "no image can be pulled"
    NO_VOLUME = "no volume can be mounted, which only Events report"
    HANGS = "the runner runs forever"


class MoodyWorld(WatchedWorld):
    """The world of one story, with its behaviour in each mood."""

    mood = Mood.KIND

    def goes_on(self) -> bool:
        """Do one action of the mood; return whether there was one."""
        before = self.changes
        self.kubelet_acts(143)
        if self.changes == before:
            for pod in self.ours("Pending", "Running"):
                if not pod_facts(pod).deleting:
                    self._treat(pod)
                if self.changes != before:
                    break
        return self.changes != before

    def _treat(self, pod: Manifest) -> None:
        facts = pod_facts(pod)
        component = _component(pod)
        if facts.phase == "Pending":
            self._treat_waiting(pod, component)
        elif facts.ready is False and component != "job-runner":
            silent = component == "scheduler" and self.mood is Mood.SCHEDULER_SILENT
            if component == "worker" and self.mood is Mood.WORKERS_CRASH:
                if facts.main and facts.main.restarts < 6:
                    self.restart(pod)
            elif component == "scheduler" and self.mood is Mood.SCHEDULER_ENDS:
                self.exit(pod, 1)
            elif not silent:
                self.becomes_ready(pod)
        elif component == "job-runner":
            self._treat_runner(pod)

    def _treat_waiting(self, pod: Manifest, component: str) -> None:
        facts = pod_facts(pod)
        no_node = self.mood is Mood.NO_NODE
        if no_node or (self.mood is Mood.NO_WORKERS and component == "worker"):
            if not facts.unschedulable:
                self.unschedulable(pod, "0/1 nodes are available")
        elif self.mood is Mood.NO_IMAGE:
            if facts.main is None or facts.main.reason != "ImagePullBackOff":
                self.wait_with(pod, "ImagePullBackOff", "no such image")
        elif self.mood is Mood.NO_VOLUME:
            if facts.main is None or facts.main.reason != "ContainerCreating":
                self.wait_with(pod, "ContainerCreating")
                warning = PodWarning("FailedMount", "exit status 32", self.now)
                self.pod_warnings[facts.ref.uid] = warning
        else:
            self.start(pod, ready=False)

    def _treat_runner(self, pod: Manifest) -> None:
        facts = pod_facts(pod)
        if facts.main is None or not facts.main.running:
            return
        match self.mood:
            case Mood.HANGS:
                return
            case Mood.SCRIPT_FAILS:
                self.ends_by_itself(pod, 1)
            case Mood.EVICTIONS:
                self.is_killed(pod, 137, "Evicted")
            case Mood.SCHEDULER_DIES:
                lucky = not self._scheduler_dies_under(pod)
                if lucky:
                    self.ends_by_itself(pod, 0)
            case _:
                self.ends_by_itself(pod, 0)

    def _scheduler_dies_under(self, runner: Manifest) -> bool:
        """Restart a scheduler that was not restarted yet."""
        schedulers = [p for p in self.ours("Running") if _component(p) == "scheduler"]
        for pod in schedulers:
            facts = pod_facts(pod)
            if facts.main and not facts.main.restarts:
                self.restart(pod, ready=True)
                return True
        del runner
        return False


def _component(pod: Manifest) -> str:
    """Return a pod's component from its name: labels may have been removed."""
    name = str(metadata(pod)["name"])
    if "-scheduler" in name:
        return "scheduler"
    return "worker" if "-worker-" in name else "job-runner"


#: Ten times the rounds and single passes of the longest life.
MOST_LOOKS = 3000


class Operator:
    """An operator that runs passes after changes and at the wake times of passes."""

    def __init__(self, world: MoodyWorld) -> None:
        self.world = world
        self.due: dict[Key, datetime] = {}

    async def round(self) -> None:
        """Run a pass over every object."""
        for key in self.world.subjects():
            await self.make_pass(key)

    async def make_pass(self, key: Key) -> None:
        """Run one pass, and record when the next is due."""
        self.due.pop(key, None)
        wake_at = await self.world.make_pass(key)
        if wake_at is not None:
            self.due[key] = wake_at

    async def run(self, *, until: Callable[[], bool], hours: float) -> None:
        """Let the world run for this time or until the condition holds, or nothing is pending."""
        end = self.world.now + timedelta(hours=hours)
        seen, looks = -1, 0
        while not until() and self.world.now < end and not self.world.broken:
            looks += 1
            assert looks < MOST_LOOKS, f"never idle: {self.world.writes[-6:]}, due {self.due}"
            if seen != self.world.changes:
                seen = self.world.changes
                await self.round()
            elif not self.world.goes_on() and not await self._wait():
                return

    async def _wait(self) -> bool:
        """Let time pass until the next pass is due; return ``False`` if none is."""
        if not self.due:
            return False
        soonest = min(self.due.values())
        self.world.now = max(self.world.now, soonest)
        for key in [key for key, moment in self.due.items() if moment <= self.world.now]:
            await self.make_pass(key)
        return True


which = st.integers(0, 5)
components = st.sampled_from(["job-runner", "scheduler", "worker"])
codes = st.sampled_from([0, 1, 3, 137])


class JobLife(RuleBasedStateMachine):
    """One job, from its submission until nothing of it is left."""

    purity_every = 0
    #: Whether events occur that soon end most jobs; without them a life gets further.
    harsh = False

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = MoodyWorld()
        self.world.check_purity_every = self.purity_every
        self.failed = False

    @initialize(
        manifest=job_manifests(),
        mood=st.sampled_from(Mood),
        harsh=st.booleans(),
        begun=st.booleans(),
        inherited=st.sampled_from([None] * 7 + ["JobCreated", "ClusterCreated", "Running"]),
        joined=st.sampled_from([None, None, None, NAME, SHARED]),
    )
    def submit(
        self,
        manifest: Manifest,
        mood: Mood,
        harsh: bool,
        begun: bool,
        inherited: str | None,
        joined: str | None,
    ) -> None:
        self.manifest, self.mood, self.harsh = manifest, mood, harsh
        items = [self.world.add_foreign(item) for item in neighbours()[:1]]
        owner = {"kind": "ReplicaSet", "name": "j", "uid": metadata(items[0])["uid"]}
        for index, item in enumerate(neighbours()[1:]):
            if index % 2 and metadata(item)["namespace"] == "default":
                item["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
            self.world.add_foreign(item)
        if "clusterRef" in manifest["spec"]:
            self.world.submit(manifests.cluster(SHARED))
        if inherited is not None and "clusterRef" not in manifest["spec"]:
            old_job(self.world, NAME, word=inherited, startTime=None)
        else:
            self.world.submit(copy.deepcopy(manifest))
        if joined is not None:
            self.world.submit(manifests.group(JOINED.name, joined, 1))
        if begun:
            self.everything_succeeds_for_some_time()

    # Passes

    def _pass(self, key: Key) -> None:
        try:
            self.loop.run_until_complete(self.world.make_pass(key))
        except Crash:
            pass
        self.nothing_is_broken()

    def _settle(self) -> None:
        self.loop.run_until_complete(self.world.settle())
        self.nothing_is_broken()

    def _round(self) -> None:
        for key in self.world.subjects():
            self._pass(key)

    def _subject(self, index: int) -> Key | None:
        subjects = self.world.subjects()
        return subjects[index % len(subjects)] if subjects else None

    @rule(index=which)
    def one_pass(self, index: int) -> None:
        key = self._subject(index)
        if key is not None:
            self._pass(key)

    @rule()
    def pass_over_the_job(self) -> None:
        self._pass(JOB)

    @rule(status_first=st.booleans())
    def round_of_passes(self, status_first: bool) -> None:
        self.world.status_first = status_first
        self._round()

    @rule()
    def operator_works(self) -> None:
        self._settle()

    @rule()
    def everything_succeeds_for_some_time(self) -> None:
        self._settle()
        for pod in self.world.ours("Pending"):
            if not pod_facts(pod).deleting:
                self.world.start(pod)
        self.world.schedulers_answer()
        self._settle()

    @rule(workers=st.integers(0, 5))
    def scheduler_wants(self, workers: int) -> None:
        self.world.want(**{f"{NAME}-default": workers})

    @rule(index=which, after=st.integers(0, 4), status_first=st.booleans())
    def operator_dies_in_a_pass(self, index: int, after: int, status_first: bool) -> None:
        key = self._subject(index)
        if key is None:
            return
        self.world.crash_after, self.world.status_first = after, status_first
        self._pass(key)
        self.world.crash_after = None
        self.world.forget()

    @rule()
    def operator_restarts(self) -> None:
        self.world.forget()

    @rule(
        index=st.sampled_from([0, 0, 0, 1, 2]),
        happens=st.sampled_from(
            ["exit 0", "exit 1", "suspend", "no cluster", "cancel", "delete", "replace"]
        ),
    )
    def world_changes_during_a_pass(self, index: int, happens: str) -> None:
        key = self._subject(index)
        if key is None:
            return
        if happens == "replace" and self.harsh:
            # So that a verdict is pending when the new job takes the name.
            self.cancelled()
        self.world.after_observing = lambda: self._happen(happens)
        self._pass(key)

    def _happen(self, what: str) -> None:
        if what in ("cancel", "delete", "replace") and not self.harsh:
            return
        match what:
            case "exit 0" | "exit 1":
                self.runner_ends(int(what[-1]), "", 0)
            case "cancel":
                self.cancelled()
            case "suspend":
                self.suspended(True)
            case "delete":
                self.deleted()
            case "replace":
                self.replaced()
            case "no cluster":
                self.cluster_is_deleted()

    @rule(lost_after=st.booleans())
    def next_write_is_lost(self, lost_after: bool) -> None:
        self.world.faults = [lost_after]

    # Pods

    def _pods(self, component: str = "", *phases: str) -> list[Manifest]:
        pods = self.world.ours(*phases)
        return [pod for pod in pods if component in ("", _component(pod))]

    def _one(self, pods: list[Manifest], index: int) -> Manifest | None:
        return pods[index % len(pods)] if pods else None

    @rule(index=which, ready=st.booleans())
    def pod_starts(self, index: int, ready: bool) -> None:
        pod = self._one(self._pods("", "Pending"), index)
        if pod and not pod_facts(pod).deleting:
            self.world.start(pod, ready=ready)

    @rule(index=which, ready=st.booleans())
    def readiness_changes(self, index: int, ready: bool) -> None:
        pod = self._one(self._pods("", "Running"), index)
        if pod:
            self.world.becomes_ready(pod, ready=ready)

    @rule(
        code=codes,
        reason=st.sampled_from(["", "", "OOMKilled"]),
        size=st.sampled_from([0, 20, 5000]),
    )
    def runner_ends(self, code: int, reason: str, size: int) -> None:
        for pod in self._pods("job-runner", "Running"):
            facts = pod_facts(pod)
            if facts.main and facts.main.running:
                why = reason if code == 137 else ""
                self.world.ends_by_itself(pod, code, reason=why, message="x" * size)

    @rule(code=st.sampled_from([0, 1]), index=which)
    def worker_or_scheduler_ends(self, code: int, index: int) -> None:
        pods = self._pods("worker", "Running") + self._pods("scheduler", "Running")
        pod = self._one(pods, index)
        if pod:
            self.world.exit(pod, code)

    @rule(
        component=components,
        index=which,
        code=st.sampled_from([0, 137]),
        reason=st.sampled_from(["Evicted", "NodeLost", "Preempting"]),
    )
    def pod_is_evicted(self, component: str, index: int, code: int, reason: str) -> None:
        pod = self._one(self._pods(component, "Pending", "Running"), index)
        if pod:
            self.world.is_killed(pod, code, reason)

    @rule(component=components, index=which, code=st.sampled_from([0, 1]))
    def pod_is_preempted(self, component: str, index: int, code: int) -> None:
        pod = self._one(self._pods(component, "Running"), index)
        if pod and self._may_vanish(pod):
            self.world.is_preempted(pod)
            facts = pod_facts(self.world._fresh(pod))
            if facts.main and facts.main.running:
                self.world.ends_by_itself(self.world._fresh(pod), code)

    def _may_vanish(self, pod: Manifest) -> bool:
        """Return whether a pod may vanish: a runner only once a status has named it.

        One that is created and vanishes before any pass observes it leaves no trace in the world:
        see ``test_runner_that_vanished_before_any_pass_observed_it_is_not_created_again``.
        """
        if _component(pod) != "job-runner":
            return True
        item = self.world.store.get(JOB)
        status = (item or {}).get("status") or {}
        attempt = attempt_of(pod)
        named = status.get("jobRunnerPodName") == metadata(pod)["name"]
        return named or is_finished(item or {}) or status.get("attempt", 0) > attempt

    @rule(component=components, index=which)
    def pod_vanishes(self, component: str, index: int) -> None:
        pod = self._one(self._pods(component), index)
        if pod and self._may_vanish(pod):
            self.world.lose(pod)

    @rule(component=components, index=which)
    def user_deletes_a_pod(self, component: str, index: int) -> None:
        pod = self._one(self._pods(component), index)
        if pod and self._may_vanish(pod):
            self.world.store.delete(object_ref(pod))

    @rule(index=which, times=st.sampled_from([1, 5]), ready=st.booleans())
    def pod_is_restarted(self, index: int, times: int, ready: bool) -> None:
        pods = self._pods("scheduler", "Running") + self._pods("worker", "Running")
        pod = self._one(pods, index)
        for _ in range(times if pod else 0):
            assert pod is not None
            self.world.restart(pod, ready=ready)

    @rule(
        index=which,
        reason=st.sampled_from(
            [
                "ContainerCreating",
                "ImagePullBackOff",
                "InvalidImageName",
                "CreateContainerConfigError",
                "CreateContainerError",
            ]
        ),
    )
    def pod_waits(self, index: int, reason: str) -> None:
        pod = self._one(self._pods("", "Pending"), index)
        if pod:
            self.world.wait_with(pod, reason, LONG_MESSAGE)

    @rule(index=which, reason=st.sampled_from(["FailedMount", "FailedCreatePodSandBox"]))
    def event_is_emitted_about_a_pod(self, index: int, reason: str) -> None:
        pod = self._one(self._pods("", "Pending"), index)
        if pod:
            warning = PodWarning(reason, LONG_MESSAGE, self.world.now)
            self.world.pod_warnings[str(metadata(pod)["uid"])] = warning

    @rule(index=which)
    def pod_finds_no_node(self, index: int) -> None:
        pod = self._one(self._pods("", "Pending"), index)
        if pod:
            self.world.unschedulable(pod, LONG_MESSAGE)

    @rule(component=components, index=which)
    def labels_are_removed(self, component: str, index: int) -> None:
        pod = self._one(self._pods(component), index)
        if pod:
            labels = dict.fromkeys(metadata(pod).get("labels") or {})
            self.world.store.patch(object_ref(pod), {"metadata": {"labels": labels}})

    @rule(code=st.sampled_from([0, 137, 143]))
    def kubelet_acts(self, code: int) -> None:
        self.world.kubelet_acts(code)

    @rule(done=st.integers(0, 3))
    def tasks_move(self, done: int) -> None:
        self.world.schedulers_answer(total=3, done=done, processing=3 - done)

    # Time, garbage collection, and rejections

    @rule(seconds=st.sampled_from([0.5, 1, 6, 30, 100, 700, 3600]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(paused=st.booleans())
    def garbage_collection(self, paused: bool) -> None:
        self.world.store.collection_paused = paused
        if not paused:
            self.world.store.collect()

    @precondition(lambda self: self.harsh)
    @rule(
        part=st.sampled_from(["-runner", "-scheduler", "-worker-", "-default", NAME]),
        kind=st.sampled_from([k for k in RejectionKind if k is not RejectionKind.TERMINATING]),
    )
    def objects_are_rejected(self, part: str, kind: RejectionKind) -> None:
        self.world.reject[part] = (kind, LONG_MESSAGE)

    @precondition(lambda self: self.world.reject)
    @rule()
    def objects_are_accepted_again(self) -> None:
        self.world.reject.clear()

    @rule(index=which, other=st.booleans())
    def dask_kubernetes_left_its_finalizer(self, index: int, other: bool) -> None:
        key = self._subject(index)
        item = self.world.store.get(key) if key else None
        if item is not None and not metadata(item).get("deletionTimestamp"):
            others = ["example.org/other"] if other else []
            body = {"metadata": {"finalizers": [*others, names.LEGACY_FINALIZER]}}
            self.world.store.patch(object_ref(item), body)

    @precondition(lambda self: self.harsh)
    @rule()
    def old_deployment_has_a_pod(self) -> None:
        """A scheduler of an earlier cluster of this name starts, and stays."""
        name = f"{NAME}-scheduler-5c8f"
        if self.world.store.get(Key("ReplicaSet", "default", name)) is None:
            owner = self.world.add_foreign(left("ReplicaSet", name, cluster=NAME))
            spec = manifests.pod(manifests.container("scheduler"))
            about: dict[str, Any] = {"component": "scheduler", "cluster": NAME, "spec": spec}
            self.world.add_foreign(left("Pod", f"{name}-q7x2m", owner, **about))

    @precondition(lambda self: self.harsh)
    @rule(taken=st.sampled_from(TAKEN))
    def user_takes_a_name(self, taken: tuple[str, str]) -> None:
        kind, name = taken
        status = self._status()
        if name == "runner":
            name = names.runner_name(NAME, status.get("attempt", 0))
        if self.world.store.get(Key(kind, "default", name)) is None:
            self.world.add_foreign(_foreign(kind, name, "scheduler"))

    # Users and other clients

    def _item(self) -> Manifest | None:
        return self.world.store.get(JOB)

    def _status(self) -> Manifest:
        return (self._item() or {}).get("status") or {}

    def _edit(self, **spec: Any) -> None:
        if self._item() is not None:
            self.world.edit(JOB, **spec)

    @rule(value=st.sampled_from([True, False, None]))
    def suspended(self, value: bool | None) -> None:
        self._edit(suspend=value)

    @precondition(lambda self: self.harsh)
    @rule()
    def cancelled(self) -> None:
        self._edit(cancel=True)

    @rule()
    def old_client_updates(self) -> None:
        self._edit(**dict.fromkeys(NEW_FIELDS))

    @rule(
        field=st.sampled_from(["activeDeadlineSeconds", "startupDeadlineSeconds"]),
        seconds=st.sampled_from([10, 1000]),
    )
    def deadline_is_changed(self, field: str, seconds: int) -> None:
        self._edit(**{field: seconds})

    @rule(replicas=st.integers(0, 3))
    def workers_are_scaled(self, replicas: int) -> None:
        if "cluster" in self.manifest["spec"]:
            self._edit(cluster={"spec": {"worker": {"replicas": replicas}}})

    @rule()
    def cluster_is_deleted(self) -> None:
        self._delete(CLUSTER)

    @precondition(lambda self: self.harsh)
    @rule()
    def replaced(self) -> None:
        """A user deletes the job and submits it again under the same name."""
        self.deleted()
        if self._item() is None:
            self.world.submit(copy.deepcopy(self.manifest))

    def deleted(self) -> None:
        self._delete(JOB)

    def _delete(self, key: Key) -> None:
        item = self.world.store.get(key)
        if item is not None and metadata(item)["uid"] not in self.world.foreign:
            self.world.store.delete(object_ref(item))

    # Invariants

    def nothing_is_broken(self) -> None:
        self.world.check_foreign()
        self.failed = bool(self.world.broken)
        assert not self.world.broken, "; ".join(self.world.broken)

    def teardown(self) -> None:
        try:
            if not self.failed and hasattr(self, "mood"):
                self.loop.run_until_complete(self._end())
        finally:
            self.loop.close()

    async def _end(self) -> None:
        world = self.world
        world.faults, world.crash_after, world.status_first = [], None, False
        world.reject.clear()
        self._remove_foreign_finalizers()
        self.garbage_collection(paused=False)
        await self._becomes_idle()
        world.mood = self.mood
        rejections = {
            Mood.NO_QUOTA: (RejectionKind.QUOTA, "exceeded quota"),
            Mood.REJECTED: (RejectionKind.REJECTED, "denied by webhook"),
        }
        if self.mood in rejections:
            world.reject["-runner"] = rejections[self.mood]
        operator = Operator(world)
        await self._lives_on(operator)
        if self._reports_why_it_waits():
            world.mood = Mood.KIND
            world.reject.clear()
            await self._lives_on(operator)
            assert not self._reports_why_it_waits(), "its obstacle is gone"
        self._is_cleaned_up()
        self._leaves_nothing()
        self.nothing_is_broken()

    def _remove_foreign_finalizers(self) -> None:
        """Remove foreign finalizers: they delay deletions for any time."""
        for item in list(self.world.store.all()):
            finalizers = metadata(item).get("finalizers") or []
            ours = [f for f in finalizers if f == names.LEGACY_FINALIZER]
            if len(ours) < len(finalizers):
                body = {"metadata": {"finalizers": ours or None}}
                self.world.store.patch(object_ref(item), body)

    async def _becomes_idle(self) -> None:
        """Passes become idle; a further round, and one after a restart, do nothing.

        A world with rejections is not idle: the rejected objects are retried.
        """
        world = self.world
        world.forget()
        seen = -1
        while seen != world.changes:
            seen = world.changes
            await world.settle()
            world.kubelet_acts(143)
        await self._does_nothing("when idle")
        for key in world.subjects():
            finalizers = metadata(world.store.get(key) or {}).get("finalizers") or ()
            assert names.LEGACY_FINALIZER not in finalizers, (
                f"{key} still has the finalizer of dask-kubernetes"
            )
        if not world.rejections:
            world.forget()
            await self._does_nothing("after a restart")

    async def _does_nothing(self, when: str) -> None:
        before = len(self.world.writes)
        for key in self.world.subjects():
            await self.world.make_pass(key)
        written = self.world.writes[before:]
        assert not written, f"a round {when} writes {written}: {self.world.last_change}"

    async def _lives_on(self, operator: Operator) -> None:
        """Let the world run until the job has ended, and some time longer."""

        def over() -> bool:
            item = self._item()
            return item is None or is_finished(item)

        await operator.run(until=over, hours=4)
        await operator.run(until=lambda: False, hours=1)
        assert not self.world.broken, "; ".join(self.world.broken)
        if not operator.due:
            self.world.advance(3600)
            await self._does_nothing("an hour later")

    def _reports_why_it_waits(self) -> bool:
        """Check that a job without an end waits for something unbounded, and reports what it is.

        Return whether that may still happen; a suspension does not end by itself.
        """
        item = self._item()
        if item is None or is_finished(item):
            return False
        status, spec = self._status(), item["spec"]
        if condition(status, "Suspended") == "True":
            assert spec.get("suspend") is not False
            return False
        limits = ("activeDeadlineSeconds", "attemptDeadlineSeconds", "startupDeadlineSeconds")
        policy = status["policy"]
        bounded = [name for name in limits if name in policy]
        if self.mood is Mood.HANGS:
            assert status["jobStatus"] == "Running", status
            assert bounded in ([], ["startupDeadlineSeconds"]), status
            return True
        assert not bounded, f"no end in spite of {bounded}: {status}"
        if status.get("reason") == "TooFewWorkers":
            assert status["workers"]["desired"] < policy["minAvailableWorkers"], status
            return False
        match self.mood:
            case Mood.NO_QUOTA:
                assert status.get("reason") == "QuotaExceeded", status
            case Mood.NO_NODE:
                assert status.get("reason") == "Unschedulable", status
            case Mood.NO_WORKERS if policy["runnerStart"] == "AfterWorkers":
                assert condition(status, "WorkersReady") == "False", status
            case _:
                raise AssertionError(f"no end, and no obstacle: {status}")
        return True

    def _is_cleaned_up(self) -> None:
        """After its end a job has no running runner, and only the requested part of its cluster."""
        item = self._item()
        if item is None:
            return
        uid, status = str(metadata(item)["uid"]), self._status()
        if condition(status, "Suspended") == "True" and not is_finished(item):
            owned = [p for p in self.world.ours("Pending", "Running") if self._is_under(p, uid)]
            assert not owned, f"suspended, with {[str(object_ref(pod)) for pod in owned]}"
        if not is_finished(item):
            return
        assert self.world.live_runners(uid) == [], "a runner outlives its job"
        side = "onSuccess" if status["jobStatus"] == "Successful" else "onFailure"
        wanted = status["policy"]["deletionPolicy"][side]
        clusters = [o for o in self.world.store.all() if controller_uid(o) == uid]
        clusters = [o for o in clusters if o["kind"] == names.Kind.CLUSTER]
        if wanted == "DeleteCluster":
            assert not clusters, "the cluster outlives its job"
        if wanted == "DeleteWorkers":
            workers = [p for p in self._pods("worker") if self._is_under(p, uid)]
            assert not workers, "workers outlive their job"

    def _is_under(self, item: Manifest, uid: str) -> bool:
        return uid in self.world.chain(item)

    def _leaves_nothing(self) -> None:
        """Deleting the job removes all its objects, without an operator."""
        self._delete(JOB)
        self.world.kubelet_acts(143)
        self.world.store.collect()
        self.world.kubelet_acts(143)
        kept = [*self.world.foreign]
        self._delete(JOINED)
        self.world.kubelet_acts(143)
        left = [o for o in self.world.store.all() if metadata(o)["uid"] not in kept]
        shared = self.world.store.get(Key(names.Kind.CLUSTER, "default", SHARED))
        if shared is not None:
            left = [o for o in left if not self._is_under(o, str(metadata(shared)["uid"]))]
        assert not left, f"left over: {[str(object_ref(item)) for item in left]}"


def test_guarantees_hold_for_any_order_of_events_crashes_and_repeats() -> None:
    run_state_machine_as_test(JobLife, settings=SETTINGS)


class PureLife(JobLife):
    """The same, with three decisions for every pass."""

    purity_every = 1


def test_deciding_is_a_function_of_its_input_and_changes_nothing() -> None:
    few = settings(SETTINGS, max_examples=max(1, SETTINGS.max_examples // 10))
    run_state_machine_as_test(PureLife, settings=few)


# Regression tests for bugs that the stories found


def world_with(manifest: Manifest, mood: Mood = Mood.KIND) -> MoodyWorld:
    """Return a world with one object."""
    world = MoodyWorld()
    world.mood = mood
    world.submit(manifest)
    return world


def lives(world: MoodyWorld, *, hours: float = 24) -> Operator:
    """Let a world run, woken by changes and by wake times of passes, until nothing is pending."""
    operator = Operator(world)
    goes_on(operator, hours=hours)
    return operator


def goes_on(operator: Operator, *, hours: float = 24) -> None:
    asyncio.run(operator.run(until=lambda: False, hours=hours))
    assert not operator.world.broken, "; ".join(operator.world.broken)


def status_of(world: MoodyWorld) -> Manifest:
    item = world.store.get(JOB)
    assert item is not None
    return dict(item["status"])


def test_runner_without_its_labels_is_still_the_runner_of_its_attempt() -> None:
    world = world_with(manifests.job(NAME), Mood.HANGS)
    lives(world, hours=0.1)
    runner = world.pod(f"{NAME}-runner")
    labels = dict.fromkeys(metadata(runner)["labels"])
    world.store.patch(object_ref(runner), {"metadata": {"labels": labels}})

    world.mood = Mood.KIND
    lives(world)

    status = status_of(world)
    assert (status["jobStatus"], status["attempt"]) == ("Successful", 0)


def test_scheduler_without_its_labels_is_not_lost() -> None:
    world = world_with(manifests.job(NAME), Mood.HANGS)
    lives(world, hours=0.1)
    scheduler = world.pod(f"{NAME}-scheduler")
    labels = dict.fromkeys(metadata(scheduler)["labels"])
    world.store.patch(object_ref(scheduler), {"metadata": {"labels": labels}})

    world.mood = Mood.KIND
    lives(world)

    assert status_of(world)["attempt"] == 0


def test_job_on_a_named_cluster_runs() -> None:
    world = world_with(manifests.job(NAME, clusterRef={"name": SHARED}))
    world.submit(manifests.cluster(SHARED))

    lives(world)

    assert status_of(world)["jobStatus"] == "Successful"
    assert world.store.get(Key(names.Kind.CLUSTER, "default", SHARED)) is not None


def test_scheduler_without_command_and_arguments_is_built() -> None:
    manifest = manifests.job(NAME)
    scheduler = {"containers": [{"name": "scheduler", "image": manifests.IMAGE}]}
    manifest["spec"]["cluster"]["spec"]["scheduler"]["spec"] = scheduler

    world = world_with(manifest)
    lives(world)

    assert status_of(world)["jobStatus"] == "Successful"


def test_attempt_without_a_runner_names_none() -> None:
    world = world_with(manifests.job(NAME, activeDeadlineSeconds=5, runnerStart="AfterScheduler"))
    world.mood = Mood.NO_NODE

    lives(world)

    assert "runnerPodName" not in status_of(world)["attempts"][0]


def test_rejected_object_is_retried_each_time() -> None:
    world = world_with(manifests.job(NAME, progress={"intervalSeconds": 0}))
    world.reject["-runner"] = (RejectionKind.QUOTA, "exceeded quota")
    operator = lives(world, hours=3)
    assert status_of(world)["reason"] == "QuotaExceeded"

    world.reject.clear()
    goes_on(operator)

    assert status_of(world)["jobStatus"] == "Successful"


def test_rejection_of_another_kind_is_acted_upon() -> None:
    world = world_with(manifests.job(NAME, progress={"intervalSeconds": 0}))
    world.reject["-runner"] = (RejectionKind.QUOTA, "exceeded quota")
    operator = lives(world, hours=1)

    world.reject["-runner"] = (RejectionKind.INVALID, "spec.containers[0].image: Required value")
    goes_on(operator)

    assert status_of(world)["reason"] == "InvalidSpec"


def test_startup_deadline_wakes_the_pass_that_enforces_it() -> None:
    quiet = {"intervalSeconds": 0}
    job = manifests.job(NAME, startupDeadlineSeconds=900, backoffLimit=0, progress=quiet)
    world = world_with(job, Mood.NO_NODE)

    lives(world, hours=1)

    assert status_of(world)["reason"] == "StartupDeadlineExceeded"


def test_pass_over_a_job_replaced_meanwhile_does_not_touch_the_new_one() -> None:
    world = world_with(manifests.job(NAME, cancel=True))

    def replace() -> None:
        world.store.delete(object_ref(world.store.get(JOB) or {}))
        world.submit(manifests.job(NAME))

    world.after_observing = replace
    asyncio.run(world.make_pass(JOB))

    assert not world.broken
    assert "status" not in (world.store.get(JOB) or {})


def test_runner_waiting_for_more_workers_than_requested_reports_it() -> None:
    job = manifests.job(NAME, runnerStart="AfterWorkers", minAvailableWorkers=2)
    world = world_with(job)
    asyncio.run(world.make_pass(JOB))
    world.edit(JOB, cluster={"spec": {"worker": {"replicas": 1}}})
    lives(world)
    status = status_of(world)
    assert (status["reason"], condition(status, "WorkersReady")) == ("TooFewWorkers", "False")

    world.edit(JOB, cluster={"spec": {"worker": {"replicas": 2}}})
    lives(world)
    assert status_of(world)["jobStatus"] == "Successful"


def test_suspension_is_written_before_the_cluster_of_an_ended_attempt_is_deleted() -> None:
    world = world_with(manifests.job(NAME, failurePolicy={"restart": "Runner"}), Mood.HANGS)
    lives(world, hours=0.1)
    world.edit(JOB, suspend=True)
    world.lose(world.pod(f"{NAME}-runner"))

    lives(world)

    assert world.store.get(CLUSTER) is None


@pytest.mark.parametrize("writes", [1, 2])
def test_attempt_started_before_a_crash_is_torn_down_by_a_suspension(writes: int) -> None:
    world = world_with(manifests.job(NAME), Mood.HANGS)
    world.crash_after = writes
    with pytest.raises(Crash):
        asyncio.run(world.make_pass(JOB))
    world.crash_after = None
    world.forget()
    world.edit(JOB, suspend=True)

    lives(world)

    assert world.ours("Pending", "Running") == []


def test_evicted_runner_that_exited_with_0_and_is_deleted_later_is_no_success() -> None:
    world = world_with(manifests.job(NAME, backoffLimit=0), Mood.HANGS)
    lives(world, hours=0.1)
    runner = world.pod(f"{NAME}-runner")
    world.is_killed(runner, 0, "Evicted")
    world.advance(1)
    world.store.delete(object_ref(runner))

    asyncio.run(world.settle())

    assert not world.broken
    assert status_of(world)["attempts"][0]["reason"] == "Evicted"


def test_next_attempt_waits_for_the_end_of_the_last_ones_sidecars() -> None:
    containers = [manifests.container("job", "python"), manifests.container("sidecar", "log")]
    again = {"backoff": {"initialSeconds": 0}, "failurePolicy": {"restart": "Runner"}}
    job = manifests.job(NAME, runner={"containers": containers})
    world = world_with({**job, "spec": {**job["spec"], **again}}, Mood.HANGS)
    lives(world, hours=0.1)
    world.ends_by_itself(world.pod(f"{NAME}-runner"), 1)

    asyncio.run(world.settle())
    assert status_of(world)["attempt"] == 1
    assert world.store.get(Key("Pod", "default", f"{NAME}-runner-1")) is None

    lives(world, hours=0.1)
    assert pod_facts(world.pod(f"{NAME}-runner-1")).alive


def test_scheduler_that_keeps_ending_is_replaced_with_backoff() -> None:
    world = world_with(manifests.cluster(NAME), Mood.SCHEDULER_ENDS)

    lives(world, hours=1)

    made = [write for write in world.writes if write == f"create Pod/{NAME}-scheduler"]
    assert 10 <= len(made) <= 25


def test_scheduler_of_an_ended_attempt_is_not_replaced() -> None:
    world = world_with(manifests.job(NAME, backoffLimit=0), Mood.SCHEDULER_ENDS)
    asyncio.run(world.settle())
    scheduler = world.pod(f"{NAME}-scheduler")
    world.start(scheduler, ready=False)
    world.exit(scheduler, 1)

    asyncio.run(world.make_pass(CLUSTER))
    asyncio.run(world.make_pass(JOB))

    assert status_of(world)["reason"] == "SchedulerFailed"


@pytest.mark.xfail(
    strict=True,
    reason="An object created and deleted before any pass observes it leaves no trace: without a "
    "finalizer a pass cannot distinguish it from one never created (not covered by design §4.2).",
)
def test_runner_that_vanished_before_any_pass_observed_it_is_not_created_again() -> None:
    world = world_with(manifests.job(NAME))
    world.crash_after = 1
    with pytest.raises(Crash):
        asyncio.run(world.make_pass(JOB))
    world.crash_after = None
    world.forget()
    world.lose(world.pod(f"{NAME}-runner"))

    lives(world)
