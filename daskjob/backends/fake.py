"""A backend in memory, with its own clock, scripted pods and faults on demand: for tests.

It passes the same contract suite as the real backends, but no claim of a test about them relies on
it. Nothing happens by itself: the test starts, ends and loses pods, and advances the clock.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from daskjob.backends.in_memory import InMemoryBackend
from daskjob.backends.rejections import counted
from daskjob.core import names
from daskjob.core.dask import DaskState, DaskWorker, TaskCounts
from daskjob.core.decision import Patch, Retire
from daskjob.core.errors import ApiError, CreateRejected, RejectionKind, StatusRejected
from daskjob.core.manifests import Key, Manifest, ObjectRef, format_time, metadata, object_ref
from daskjob.core.observed import Platform
from daskjob.core.pods import PodFacts, pod_facts
from daskjob.core.reconcile import reconcile
from daskjob.core.status import JobStatus, job_status_from

#: The initial time of every fake.
START = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


class FakeBackend(InMemoryBackend):
    """A backend that a test scripts."""

    def __init__(self) -> None:
        self.now = START
        super().__init__(lambda: self.now, Platform(agent="", istio_excluded=False))
        self.store.slow_to_delete = {"Pod"}
        self._entropy = itertools.count()
        self._containers = itertools.count(1)
        #: Objects to reject, by a part of their name, and why.
        self.reject: dict[str, tuple[RejectionKind, str]] = {}
        #: Statuses to reject, by a part of their object's Kind/name, and why.
        self.reject_status: dict[str, tuple[RejectionKind, str]] = {}
        #: Faults of the next writes: ``None``: none; false: the write is lost; true: its answer is.
        self.faults: list[bool | None] = []
        #: Every write that took effect, as "verb Kind/name", in order.
        self.writes: list[str] = []
        #: Whether the scheduler confirms a retirement.
        self.retires = True
        self._retired: set[str] = set()
        self.report: Manifest | None = {"tasks": 0}

    # The clock

    def advance(self, seconds: float) -> None:
        """Advance the clock."""
        self.now += timedelta(seconds=seconds)

    def entropy(self) -> str:
        """Return a value that is unique, but the same in every run of a test."""
        return f"entropy-{next(self._entropy)}"

    # Writes: counted, and with faults

    async def create(self, owner: Key, manifest: Manifest) -> None:
        """Create an object, unless the test rejects it."""
        ref = object_ref(manifest)
        for part, (kind, message) in self.reject.items():
            if part in ref.name:
                where = (ref.namespace, f"{ref.kind}/{ref.name}")
                rejected = CreateRejected(kind, str(ref), message)
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
        """Write a status, unless the test rejects it."""
        for part, (kind, message) in self.reject_status.items():
            if part in f"{ref.kind}/{ref.name}":
                error = StatusRejected(kind, str(ref), message)
                before = self.status_rejections.get(ref.uid)
                self.status_rejections[ref.uid] = counted(before, error, self.clock())
                raise error
        with _Write(self, f"status {ref.kind}/{ref.name}"):
            await super().write_status(ref, status)

    async def ask_to_retire(self, retire: Retire) -> Manifest | None:
        """Confirm the retirement, if the test wants it."""
        self.writes.append("retire " + " ".join(sorted(retire.addresses)))
        confirmed = retire.addresses if self.retires else ()
        self._retired.update(confirmed)
        return {"retired": list(confirmed)}

    async def ask_for_report(self, scheduler: PodFacts) -> Manifest | None:
        """Return the report that the test has set."""
        self.writes.append(f"report {scheduler.ref.name}")
        return self.report

    def forget(self) -> None:
        """Lose everything that a crash of the operator would lose."""
        self.rejections.clear()
        self.status_rejections.clear()
        self.dask.clear()
        self.demands.clear()
        self.unresponsive.clear()
        self.reports.clear()
        self.retirements.clear()

    # Passes

    async def settle(self, rounds: int = 50) -> None:
        """Run passes over every object until a round changes nothing.

        Raises
        ------
        AssertionError
            The passes do not converge: two of them undo each other.
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
        raise AssertionError(f"not settled after {rounds} rounds: {self.writes[-10:]}")

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
        """Run a pod: on a node, with its containers started."""
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
        """Have a running pod pass or fail its readiness probe; its containers keep running."""
        old = (self._fresh(pod).get("status") or {}).get("containerStatuses") or ()
        statuses = [{**status, "ready": ready} for status in old]
        self._set(pod, containerStatuses=statuses, conditions=self._conditions(pod, ready=ready))

    def _conditions(self, pod: Manifest, *, ready: bool) -> list[Manifest]:
        """Return the conditions of a pod on a node, with its last change of readiness."""
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
        """End all containers of a pod with one exit code, without a restart."""
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
        """End a pod because its node shuts down, as kubelets of spot nodes do."""
        self.exit(pod, 143, pod_reason="Terminated")
        evicted = self._fresh(pod)
        disrupted = {"type": "DisruptionTarget", "status": "True", "reason": reason}
        conditions = [*evicted["status"]["conditions"], disrupted]
        self._set(evicted, conditions=conditions)

    def wait_with(self, pod: Manifest, reason: str, message: str = "") -> None:
        """Have a pod's containers wait, for a reason of Kubernetes."""
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
        """Bind a pod to a node whose kubelet has not picked it up yet."""
        self._set(pod, conditions=[{"type": "PodScheduled", "status": "True"}])

    def unschedulable(self, pod: Manifest, message: str) -> None:
        """Make a pod unschedulable."""
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
        }
        self._set(pod, phase="Pending", conditions=[condition])

    def restart(self, pod: Manifest, code: int = 1, *, ready: bool = False) -> None:
        """Have a pod's main container crash, and its kubelet restart it."""
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
        """Remove a pod without a trace."""
        self.store.remove(object_ref(pod))

    def kubelet(self, *, exit_code_when_stopped: int = 143) -> None:
        """Act as the kubelet: remove terminating pods, end those past their deadline."""
        for pod in self.pods():
            facts = pod_facts(pod)
            if facts.deleting:
                self.store.remove(facts.ref)
            elif facts.alive and facts.started_at and facts.active_deadline_seconds is not None:
                due = facts.started_at + timedelta(seconds=facts.active_deadline_seconds)
                if self.now >= due:
                    self.exit(pod, exit_code_when_stopped, pod_reason="DeadlineExceeded")

    def start_all(self) -> None:
        """Run every pending pod; schedulers answer, workers are ready."""
        for pod in self.pods():
            facts = pod_facts(pod)
            if facts.phase == "Pending" and not facts.deleting:
                self.start(pod)

    def schedulers_answer(self, **tasks: int) -> None:
        """Have every scheduler answer with these tasks, and all ready workers registered."""
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
            self.answered(uid, replace(state, idle_since=idle))

    def _worker(self, pod: PodFacts, memory: int) -> DaskWorker:
        address = f"tcp://{pod.ip}:4000"
        return DaskWorker(pod.ref.name, address, memory, retiring=address in self._retired)

    def want(self, **workers: int) -> None:
        """Set the schedulers' demand for workers by group (``simple_default=3``)."""
        targets = {name.replace("_", "-"): count for name, count in workers.items()}
        for item in self.store.all():
            if item["kind"] == names.Kind.CLUSTER:
                uid = str(metadata(item)["uid"])
                known = self.dask.get(uid, DaskState())
                self.answered(uid, replace(known, targets={**known.targets, **targets}))
        self.changed()

    def fall_silent(self) -> None:
        """Have all schedulers stop answering."""
        for uid in list(self.dask):
            del self.dask[uid]
            self.not_answered(uid)

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
        """Create a job, cluster or group."""
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
    """A write that may fail before or after it took effect, as the test planned."""

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
                raise ApiError(f"{self._what}: no response")
