"""A world in memory, with a clock of its own, scripted pods and faults on demand: for tests.

It passes the same contract suite as the real worlds, and decides nothing that a test claims about
them. Nothing happens by itself: a test says when a pod runs, ends or is lost, and when a second
has passed.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from daskjob.backends.in_memory import InMemoryBackend
from daskjob.backends.rejections import counted
from daskjob.core import names
from daskjob.core.dask import DaskState, DaskWorker, Retirement, TaskCounts
from daskjob.core.decision import Patch, Retire
from daskjob.core.errors import ApiError, CreateRejected, RejectionKind, StatusRejected
from daskjob.core.manifests import Key, Manifest, ObjectRef, format_time, metadata, object_ref
from daskjob.core.observed import ObservedJob, Platform
from daskjob.core.pods import PodFacts, pod_facts
from daskjob.core.reconcile import reconcile
from daskjob.core.status import JobStatus, job_status_from

#: When every fake world begins.
START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


class FakeBackend(InMemoryBackend):
    """A world that a test scripts."""

    def __init__(self) -> None:
        self.now = START
        super().__init__(lambda: self.now, Platform(agent="", istio_excluded=False))
        self.store.slow_to_go = {"Pod"}
        self._entropy = itertools.count()
        self._containers = itertools.count(1)
        #: Parts of names of objects that are refused, and why.
        self.reject: dict[str, tuple[RejectionKind, str]] = {}
        #: The same of objects, as Kind/name, whose status is refused.
        self.reject_status: dict[str, tuple[RejectionKind, str]] = {}
        #: What happens to the next writes: ``None`` nothing, false lost, true its answer is lost.
        self.faults: list[bool | None] = []
        #: Every write that took effect, as "verb Kind/name", in order.
        self.writes: list[str] = []
        #: Whether the scheduler confirms a retirement.
        self.retires = True
        self._retired: set[str] = set()
        self.report: Manifest | None = {"tasks": 0}

    # The clock

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def entropy(self) -> str:
        """Return what no earlier call returned, the same in every run of a test."""
        return f"entropy-{next(self._entropy)}"

    # Writes: counted, and with faults

    async def create(self, owner: Key, manifest: Manifest) -> None:
        """Create an object, unless a test has it refused."""
        ref = object_ref(manifest)
        for part, (kind, words) in self.reject.items():
            if part in ref.name:
                where = (ref.namespace, f"{ref.kind}/{ref.name}")
                rejected = CreateRejected(kind, str(ref), words)
                self.rejections[where] = counted(self.rejections.get(where), rejected, self.clock())
                raise rejected
        with _Write(self, f"create {ref.kind}/{ref.name}"):
            await super().create(owner, manifest)

    async def delete(self, ref: ObjectRef) -> None:
        """Delete an object."""
        with _Write(self, f"delete {ref.kind}/{ref.name}"):
            await super().delete(ref)

    async def stop(self, ref: ObjectRef) -> None:
        """Stop a pod."""
        with _Write(self, f"stop {ref.kind}/{ref.name}"):
            await super().stop(ref)

    async def patch(self, patch: Patch) -> None:
        """Patch an object."""
        with _Write(self, f"patch {patch.ref.kind}/{patch.ref.name}"):
            await super().patch(patch)

    async def write_status(self, ref: ObjectRef, status: Manifest) -> None:
        """Write a status, unless a test has it refused."""
        for part, (kind, words) in self.reject_status.items():
            if part in f"{ref.kind}/{ref.name}":
                error = StatusRejected(kind, str(ref), words)
                before = self.status_rejections.get(ref.uid)
                self.status_rejections[ref.uid] = counted(before, error, self.clock())
                raise error
        with _Write(self, f"status {ref.kind}/{ref.name}"):
            await super().write_status(ref, status)

    async def ask_to_retire(self, group: Manifest, retire: Retire) -> Retirement:
        """Confirm, or not, as the test has it."""
        del group
        self.writes.append("retire " + " ".join(sorted(retire.addresses)))
        addresses = frozenset(retire.addresses)
        if self.retires:
            self._retired |= addresses
            return Retirement(retired=addresses, at=self.now)
        return Retirement(remaining=addresses, at=self.now)

    async def ask_for_report(self, observed: ObservedJob) -> Manifest | None:
        """Return the report that the test has set."""
        self.writes.append(f"report {observed.ref.name}")
        return self.report

    def forget(self) -> None:
        """Lose all that a crash of whoever makes the passes would lose."""
        self.rejections.clear()
        self.status_rejections.clear()
        self.dask.clear()
        self.demands.clear()
        self.mute.clear()
        self.reports.clear()
        self.retirements.clear()

    # Passes

    async def settle(self, rounds: int = 50) -> None:
        """Make passes over every object until a round changes nothing.

        Raises
        ------
        AssertionError
            The world does not come to rest: two passes undo each other.
        """
        for _ in range(rounds):
            before = (len(self.writes), dict(self.rejections), dict(self.status_rejections))
            for key in self.subjects():
                try:
                    await reconcile(self, key, self.now)
                except ApiError:
                    self.writes.append(f"fault {key}")
            if (len(self.writes), self.rejections, self.status_rejections) == before:
                return
        raise AssertionError(f"no rest after {rounds} rounds: {self.writes[-10:]}")

    # What pods do

    def pod(self, name: str, namespace: str = "default") -> Manifest:
        """Return the pod of a name, which must exist."""
        found = self.store.get(Key("Pod", namespace, name))
        assert found is not None, f"there is no pod {name}"
        return found

    def pods(self, component: str = "") -> list[Manifest]:
        """Return the pods of a component, or all."""
        found = [item for item in self.store.all() if item["kind"] == "Pod"]
        return [pod for pod in found if component in ("", pod_facts(pod).component)]

    def start(self, pod: Manifest, *, ready: bool = True) -> None:
        """Let a pod run: on a node, its containers started."""
        facts = pod_facts(pod)
        now = format_time(self.now)
        statuses = [
            {
                "name": container["name"],
                "ready": ready,
                "restartCount": facts.main.restarts if facts.main else 0,
                "containerID": f"fake://{next(self._containers)}",
                "state": {"running": {"startedAt": now}},
            }
            for container in pod["spec"]["containers"]
        ]
        self._set(
            pod,
            phase="Running",
            startTime=now,
            podIP=f"10.0.0.{next(self._containers)}",
            containerStatuses=statuses,
            conditions=self._conditions(pod, ready=ready),
        )

    def becomes_ready(self, pod: Manifest, *, ready: bool = True) -> None:
        """Let a pod that runs pass its readiness probe, or fail it; its containers go on."""
        old = (self._fresh(pod).get("status") or {}).get("containerStatuses") or ()
        statuses = [{**status, "ready": ready} for status in old]
        self._set(pod, containerStatuses=statuses, conditions=self._conditions(pod, ready=ready))

    def _conditions(self, pod: Manifest, *, ready: bool) -> list[Manifest]:
        """Return the conditions of a pod on a node, with the time since when it is (not) ready."""
        facts = pod_facts(self._fresh(pod))
        since = facts.ready_changed_at if facts.ready is ready else self.now
        return [
            {"type": "PodScheduled", "status": "True"},
            {
                "type": "Ready",
                "status": "True" if ready else "False",
                "lastTransitionTime": format_time(since or self.now),
            },
        ]

    def exit(
        self, pod: Manifest, code: int, *, message: str = "", reason: str = "", pod_reason: str = ""
    ) -> None:
        """Let a pod's containers end for good, all with one exit code."""
        pod = self._fresh(pod)
        ended = {"exitCode": code, "finishedAt": format_time(self.now)}
        ended["reason"] = reason or ("Completed" if code == 0 else "Error")
        if message:
            ended["message"] = message
        old = {c["name"]: c for c in (pod.get("status") or {}).get("containerStatuses") or ()}
        statuses = [
            {
                **old.get(c["name"], {"name": c["name"]}),
                "ready": False,
                "state": {"terminated": ended},
            }
            for c in pod["spec"]["containers"]
        ]
        self._set(
            pod,
            phase="Succeeded" if code == 0 and not pod_reason else "Failed",
            reason=pod_reason or None,
            containerStatuses=statuses,
            conditions=[{"type": "PodScheduled", "status": "True"}],
        )

    def evict(self, pod: Manifest, reason: str = "TerminationByKubelet") -> None:
        """Let a node that goes end a pod, as kubelets of spot nodes do."""
        self.exit(pod, 143, pod_reason="Terminated")
        evicted = self._fresh(pod)
        disrupted = {"type": "DisruptionTarget", "status": "True", "reason": reason}
        told = [*evicted["status"]["conditions"], disrupted]
        self._set(evicted, conditions=told)

    def wait_with(self, pod: Manifest, reason: str, message: str = "") -> None:
        """Let a pod's containers wait, with Kubernetes' word for why."""
        waiting = {"reason": reason, "message": message}
        statuses = [
            {"name": c["name"], "ready": False, "restartCount": 0, "state": {"waiting": waiting}}
            for c in pod["spec"]["containers"]
        ]
        self._set(
            pod,
            phase="Pending",
            containerStatuses=statuses,
            conditions=self._conditions(pod, ready=False),
        )

    def schedule(self, pod: Manifest) -> None:
        """Let a pod be given a node that has not looked at it yet."""
        self._set(pod, conditions=[{"type": "PodScheduled", "status": "True"}])

    def unschedulable(self, pod: Manifest, message: str) -> None:
        """Let no node fit a pod."""
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
        }
        self._set(pod, phase="Pending", conditions=[condition])

    def restart(self, pod: Manifest, code: int = 1, *, ready: bool = False) -> None:
        """Let a pod's main container crash and be started again by its kubelet."""
        facts = pod_facts(self._fresh(pod))
        restarts = (facts.main.restarts if facts.main else 0) + 1
        self.start(pod, ready=ready)
        fresh = self._fresh(pod)
        last = {"terminated": {"exitCode": code, "reason": "Error"}}
        statuses = [
            {**status, "restartCount": restarts, "lastState": last}
            for status in fresh["status"]["containerStatuses"]
        ]
        self._set(fresh, containerStatuses=statuses)

    def lose(self, pod: Manifest) -> None:
        """Let a pod vanish without a trace."""
        self.store.remove(object_ref(pod))

    def kubelet(self, *, exit_code_when_stopped: int = 143) -> None:
        """Let the kubelet do its part: remove deleted pods, stop those whose deadline is over."""
        for pod in self.pods():
            facts = pod_facts(pod)
            if facts.deleting:
                self.store.remove(facts.ref)
            elif facts.alive and facts.started_at and facts.active_deadline_seconds is not None:
                due = facts.started_at + timedelta(seconds=facts.active_deadline_seconds)
                if self.now >= due:
                    self.exit(pod, exit_code_when_stopped, pod_reason="DeadlineExceeded")

    def start_all(self) -> None:
        """Let every pod that waits run; schedulers answer, workers are ready."""
        for pod in self.pods():
            facts = pod_facts(pod)
            if facts.phase == "Pending" and not facts.deleting:
                self.start(pod)

    def say(self, **tasks: int) -> None:
        """Let every scheduler say how its tasks stand, with all ready workers registered."""
        for item in self.store.all():
            if item["kind"] != names.Kind.CLUSTER:
                continue
            workers = tuple(
                self._worker(facts, index)
                for index, facts in enumerate(map(pod_facts, self.pods("worker")))
                if facts.ready
            )
            uid = str(metadata(item)["uid"])
            known = self.dask.get(uid, DaskState())
            counts = TaskCounts(**tasks) if tasks else known.tasks
            moved = self.now if counts != known.tasks else known.last_transition
            busy = counts.processing or counts.waiting
            idle = None if busy else known.idle_since or self.now
            state = replace(known, tasks=counts, last_transition=moved, workers=workers)
            self.said(uid, replace(state, idle_since=idle))

    def _worker(self, pod: PodFacts, memory: int) -> DaskWorker:
        address = f"tcp://{pod.ip}:4000"
        return DaskWorker(pod.ref.name, address, memory, retiring=address in self._retired)

    def want(self, **workers: int) -> None:
        """Let the schedulers want so many workers of their groups (``simple_default=3``)."""
        targets = {name.replace("_", "-"): count for name, count in workers.items()}
        for item in self.store.all():
            if item["kind"] == names.Kind.CLUSTER:
                uid = str(metadata(item)["uid"])
                known = self.dask.get(uid, DaskState())
                self.said(uid, replace(known, targets={**known.targets, **targets}))
        self.changed()

    def fall_silent(self) -> None:
        """Let no scheduler answer any more."""
        for uid in list(self.dask):
            del self.dask[uid]
            self.unanswered(uid)

    def _set(self, pod: Manifest, **status: object) -> None:
        fresh = self._fresh(pod)
        merged = {**(fresh.get("status") or {}), **status}
        kept = {key: value for key, value in merged.items() if value is not None}
        self.store.write_status(object_ref(fresh), kept)

    def _fresh(self, pod: Manifest) -> Manifest:
        found = self.store.found(object_ref(pod))
        assert found is not None, f"{object_ref(pod)} is gone"
        return found

    # Jobs

    def submit(self, manifest: Manifest) -> Key:
        """Put a job, cluster or group into the world."""
        ref = object_ref(self.store.create(manifest))
        return Key(ref.kind, ref.namespace, ref.name)

    def edit(self, key: Key, **spec: object) -> None:
        """Change fields of an object's spec, as a user would."""
        item = self.store.get(key)
        assert item is not None, f"there is no {key}"
        self.store.patch(object_ref(item), {"spec": spec})

    def job_status(self, key: Key) -> JobStatus:
        """Return a job's status."""
        item = self.store.get(key)
        assert item is not None, f"there is no {key}"
        return job_status_from(item.get("status"))


class _Write:
    """A write that may fail before or after it took effect, as a test has planned."""

    def __init__(self, world: FakeBackend, what: str) -> None:
        self._world = world
        self._what = what
        self._answer_is_lost = False

    def __enter__(self) -> None:
        fault = self._world.faults.pop(0) if self._world.faults else None
        self._answer_is_lost = fault is True
        if fault is False:
            raise ApiError(f"{self._what}: the connection broke before it was sent")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self._world.writes.append(self._what)
            if self._answer_is_lost:
                raise ApiError(f"{self._what}: no answer came")
