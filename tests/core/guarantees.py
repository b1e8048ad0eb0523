"""Design §4 as code: a world that checks every write against the guarantees.

``WatchedWorld`` is the fake world with a check at the store and at each call of a backend. It
records violations of guarantees in ``broken`` and continues; the test asserts that the list is
empty. The expected facts (which runner really ended by itself with 0) come from the script, never
from the code under test.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import datetime, timedelta

from daskjob.backends.fake import FakeBackend
from daskjob.core import names
from daskjob.core.decide import decide
from daskjob.core.decision import Event, Patch, Retire
from daskjob.core.errors import ApiError
from daskjob.core.manifests import (
    Key,
    Manifest,
    ObjectRef,
    controller_uid,
    format_time,
    metadata,
    object_ref,
    parse_time,
)
from daskjob.core.observed import Observed, ObservedJob
from daskjob.core.pods import PodFacts, pod_facts
from daskjob.core.reasons import Reason
from daskjob.core.reconcile import reconcile

STATES = {"JobCreated", "ClusterCreated", "Running", "Successful", "Failed"}
TERMINAL = {"Successful", "Failed"}
WHOLE_SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
#: Ten attempts, nine conditions, a result and a report at their limits, and room for the policy.
STATUS_LIMIT_BYTES = 40 * 1024
#: How long a stopped runner may take to end before it is deleted.
STOP_SECONDS = 90
#: Fields of the policy that a running job still follows; the others are frozen at the start.
MUTABLE_POLICY = {
    "activeDeadlineSeconds",
    "attemptDeadlineSeconds",
    "startupDeadlineSeconds",
    "stallDeadlineSeconds",
    "ttlSecondsAfterFinished",
}


class Crash(Exception):
    """The operator was killed: none of its next steps happens."""


class WatchedWorld(FakeBackend):
    """A world that checks the guarantees."""

    def __init__(self) -> None:
        super().__init__()
        #: Descriptions of all violations, in order.
        self.broken: list[str] = []
        #: Foreign objects, as they were created.
        self.foreign: dict[str, Manifest] = {}
        #: Runners, as (uid of the job, attempt), that ended with 0 before any stop.
        self.succeeded: set[tuple[str, int]] = set()
        #: Runners that ended with another code, or out of memory, by themselves.
        self.failed: set[tuple[str, int]] = set()
        #: How often a runner was created, by (uid of the job, attempt).
        self.runners: Counter[tuple[str, int]] = Counter()
        #: Number of changes so far that a pass can observe.
        self.changes = 0
        #: Changes of the last status write: the old and the new value of each field.
        self.last_change: Manifest = {}
        #: The operator is killed after this number of writes of the pass; ``None``: never.
        self.crash_after: int | None = None
        #: Called between the observation of a pass and its first write.
        self.after_observing: Callable[[], None] | None = None
        #: Whether a pass writes its status before it creates objects, or after.
        self.status_first = False
        #: Check the purity of the decision in every n-th pass; 0: never.
        self.check_purity_every = 0
        self._passes = 0
        self._uids = itertools.count()
        self._subject = ""
        self._owed: tuple[str, int] | None = None
        self._cancel_seen = False
        self._held = False
        #: The statuses of all jobs as the pass observed them: its own writes permit nothing.
        self._seen: dict[str, Manifest] = {}
        self.store.watch(self._witness)
        self.watch(self._count_change)

    def _count_change(self) -> None:
        self.changes += 1

    def promise(self, kept: object, what: str) -> None:
        """Record a violation unless the guarantee was kept."""
        if not kept:
            self.broken.append(what)

    # Passes

    async def make_pass(self, key: Key) -> datetime | None:
        """Run one pass as an operator does: an API error only leads to a retry."""
        try:
            return await reconcile(self, key, self.now)
        except ApiError:
            return self.now + timedelta(seconds=1)
        finally:
            self._subject = ""
            self.after_observing = None

    def subjects(self) -> list[Key]:
        """Return the keys of the objects that get passes, without foreign ones."""
        return [key for key in super().subjects() if not self._is_foreign(key)]

    def _is_foreign(self, key: Key) -> bool:
        item = self.store.get(key)
        return item is not None and metadata(item)["uid"] in self.foreign

    async def observe(self, key: Key) -> Observed | None:
        """Observe, and record the obligations of the pass that follow from it."""
        observed = await super().observe(key)
        self._passes += 1
        self._subject, self._owed, self._cancel_seen, self._held = "", None, False, False
        if observed is None:
            return None
        self._subject = observed.ref.uid
        jobs = [o for o in self.store.all() if o["kind"] == names.Kind.JOB]
        self._seen = {metadata(o)["uid"]: o.get("status") or {} for o in jobs}
        if isinstance(observed, ObservedJob):
            self._owed = self._success_owed(observed)
            self._cancel_seen = observed.job.cancel
            self._held = self._is_held(observed)
        if self.check_purity_every and self._passes % self.check_purity_every == 0:
            self._check_purity(observed)
        if self.after_observing is not None:
            self.after_observing()
        return observed

    def _success_owed(self, observed: ObservedJob) -> tuple[str, int] | None:
        """Return the attempt whose success is observable and not yet written."""
        status = observed.status
        runner = observed.runner(status.attempt)
        here = (observed.ref.uid, status.attempt)
        if status.finished or not status.started or runner is None or runner.stop_reason:
            return None
        return here if here in self.succeeded else None

    def _is_held(self, observed: ObservedJob) -> bool:
        """Return whether the job is suspended: only an explicit ``false`` resumes it."""
        item = self._by_uid(observed.ref.uid) or {"spec": {}}
        suspend = item["spec"].get("suspend")
        reported = condition(item.get("status") or {}, "Suspended") == "True"
        return bool(suspend) or (suspend is None and reported)

    def _check_purity(self, observed: Observed) -> None:
        before = copy.deepcopy(observed)
        first = decide(observed, self.now)
        self.promise(decide(observed, self.now) == first, "deciding twice gives two decisions")
        self.promise(observed == before, "deciding changed what was observed")
        self.promise(decide(before, self.now) == first, "deciding depends on more than its input")

    # The steps of a pass, checked before they are carried out

    async def create(self, owner: Key, manifest: Manifest) -> None:
        """Create an object; it must belong to the object of the pass."""
        if self.status_first:
            await asyncio.sleep(0)
        self._must_live()
        ref = object_ref(manifest)
        ours = controller_uid(manifest) == self._subject
        self.promise(ours, f"{ref} is created for another owner than {owner}")
        job = self._by_uid(self._subject)
        if job and job["kind"] == names.Kind.JOB:
            self.promise(not is_finished(job), f"{ref} is created after the end")
            self.promise(not self._held, f"{ref} is created while the job is suspended")
        await self._counted(super().create(owner, self._with_uid(manifest)))

    async def delete(self, ref: ObjectRef) -> None:
        """Delete an object; it must be ours, and its end must be written."""
        self._must_live()
        item = self.store.found(ref)
        if item is not None:
            self._must_be_ours(item, "deleted")
            self._may_be_deleted(ref, item)
        await self._counted(super().delete(ref))

    async def stop(self, ref: ObjectRef) -> None:
        """Stop a runner; it must be ours, and its end must be written."""
        self._must_live()
        item = self.store.found(ref)
        if item is not None:
            self._must_be_ours(item, "stopped")
            self.promise(self._attempt_is_over(item), f"{ref} is stopped before the verdict")
        await self._counted(super().stop(ref))

    async def patch(self, patch: Patch) -> None:
        """Patch an object, which must be ours."""
        self._must_live()
        item = self.store.found(patch.ref)
        if item is not None:
            self._may_be_patched(item, patch)
        await self._counted(super().patch(patch))

    def _may_be_patched(self, item: Manifest, patch: Patch) -> None:
        """A patch replaces a list completely: foreign entries must stay in it."""
        meta = metadata(patch.body)
        for key in ("finalizers", "ownerReferences"):
            if key in meta:
                old, new = metadata(item).get(key) or [], meta[key] or []
                seen = meta["resourceVersion"] == metadata(item)["resourceVersion"]
                lost = [o for o in old if o not in new and o != names.LEGACY_FINALIZER]
                self.promise(not (seen and lost), f"{patch.ref} loses {lost} of its {key}")
        subject = self._by_uid(self._subject)
        if (
            subject
            and subject["kind"] == names.Kind.AUTOSCALER
            and item["kind"] == names.Kind.GROUP
        ):
            self._may_be_scaled(subject, item, patch)
        elif not {"finalizers", "ownerReferences"} & meta.keys():
            self._must_be_ours(item, "patched")
        elif "spec" in patch.body or meta.keys() & {"labels", "annotations"}:
            self.promise(False, f"{patch.ref} is patched with more than an owner: {patch.body}")

    def _may_be_scaled(self, autoscaler: Manifest, group: Manifest, patch: Patch) -> None:
        """An autoscaler only writes a count within its bounds, to a group of its cluster."""
        spec = autoscaler["spec"]
        count = patch.body.get("spec", {}).get("worker", {}).get("replicas", -1)
        alone = patch.body == {"spec": {"worker": {"replicas": count}}}
        self.promise(alone, f"{patch.ref} is patched with more than a count: {patch.body}")
        bounds = spec.get("minimum") or 0, spec["maximum"]
        within = bounds[0] <= count <= bounds[1]
        self.promise(within, f"{patch.ref} is scaled to {count} with bounds {bounds}")
        same = group["spec"]["cluster"] == spec["cluster"]
        self.promise(same, f"{patch.ref} is scaled and joins another cluster")

    async def retire(self, group: ObjectRef, retire: Retire) -> None:
        """Ask the scheduler."""
        self._must_live()
        await self._counted(super().retire(group, retire))

    async def collect_report(self, job: ObjectRef, scheduler: PodFacts) -> None:
        """Ask the agent."""
        self._must_live()
        await self._counted(super().collect_report(job, scheduler))

    async def write_status(self, ref: ObjectRef, status: Manifest) -> None:
        """Write a status, which must differ from the last one."""
        self._must_live()
        item = self.store.found(ref)
        if item is not None:
            ours = self._subject == metadata(item)["uid"]
            self.promise(ours, f"{ref} is not the pass' object, and its status is written")
            old = item.get("status") or {}
            changed = {**old, "updatedAt": None} != {**status, "updatedAt": None}
            self.promise(changed, f"the status of {ref} is written unchanged")
            fields = [key for key in {**old, **status} if old.get(key) != status.get(key)]
            self.last_change = {key: (old.get(key), status.get(key)) for key in fields}
        await self._counted(super().write_status(ref, status))

    async def emit(self, ref: ObjectRef, events: Iterable[Event]) -> None:
        """Emit Events."""
        self._must_live()
        await super().emit(ref, events)

    def submit(self, manifest: Manifest) -> Key:
        """Create an object in the world."""
        return super().submit(self._with_uid(manifest))

    def _with_uid(self, manifest: Manifest) -> Manifest:
        """Return an object with a uid that is the same in every run, since names depend on it."""
        uid = f"uid-{next(self._uids)}"
        return {**manifest, "metadata": {**metadata(manifest), "uid": uid}}

    def _must_live(self) -> None:
        if self.crash_after is not None and self.crash_after <= 0:
            raise Crash

    async def _counted(self, write: Awaitable[None]) -> None:
        try:
            await write
        finally:
            if self.crash_after is not None:
                self.crash_after -= 1

    def _by_uid(self, uid: str) -> Manifest | None:
        return next((o for o in self.store.all() if uid and metadata(o)["uid"] == uid), None)

    def chain(self, item: Manifest) -> list[str]:
        """Return the uids of an object, its controller, and so on upwards."""
        found = [str(metadata(item)["uid"])]
        while owner := controller_uid(item):
            found.append(owner)
            above = self._by_uid(owner)
            if above is None:
                break
            item = above
        return found

    def _must_be_ours(self, item: Manifest, done: str) -> None:
        ours = self._subject and self._subject in self.chain(item)
        self.promise(ours, f"{object_ref(item)} is {done} and does not belong to the pass' object")
        kinds = {_owner_kind(item), item["kind"]}
        deployed = kinds & {"Deployment", "ReplicaSet"} or self.is_unmanaged(item)
        self.promise(not deployed, f"{object_ref(item)} of dask-kubernetes is {done}")

    def is_unmanaged(self, item: Manifest) -> bool:
        """Return whether dask-kubernetes created an object below one of its clusters."""
        return item["kind"] in ("Service", "DaskWorkerGroup") and any(
            owner.get("blockOwnerDeletion") for owner in metadata(item).get("ownerReferences") or ()
        )

    def _attempt_is_over(self, pod: Manifest) -> bool:
        status = self._seen.get(controller_uid(pod), {})
        return status.get("jobStatus") in TERMINAL or status.get("attempt", 0) > attempt_of(pod)

    def _may_be_deleted(self, ref: ObjectRef, item: Manifest) -> None:
        owner = self._by_uid(controller_uid(item))
        match ref.kind:
            case names.Kind.JOB:
                self.promise(_expired(item, self.now), f"{ref} is deleted before its time")
            case names.Kind.CLUSTER:
                self._cluster_may_go(ref, item, owner)
            case names.Kind.GROUP:
                annotations = metadata(owner or {}).get("annotations") or {}
                requested = annotations.get(names.ANNOTATION_DELETE_WORKERS) == "true"
                self.promise(requested, f"{ref} is deleted without a request")
            case names.Kind.AUTOSCALER:
                annotations = metadata(owner or {}).get("annotations") or {}
                requested = annotations.get(names.ANNOTATION_DELETE_WORKERS) == "true"
                self.promise(requested, f"{ref} is deleted without a request")
            case "Pod" if owner is not None and owner["kind"] == names.Kind.JOB:
                self._runner_may_go(ref, item)
            case "Pod" if owner is not None and owner["kind"] == names.Kind.CLUSTER:
                self._scheduler_may_go(ref, item, owner)
            case "Pod":
                return
            case _:
                self.promise(False, f"{ref} is deleted without a reason")

    def _runner_may_go(self, ref: ObjectRef, pod: Manifest) -> None:
        self.promise(self._attempt_is_over(pod), f"{ref} is deleted before the verdict")
        facts = pod_facts(pod)
        has_log = facts.main is not None and facts.main.ever_ran
        status = self._seen.get(controller_uid(pod), {})
        ends = [attempt["endTime"] for attempt in status.get("attempts", [])]
        ended = parse_time(status.get("endTime") or (ends[-1] if ends else None))
        overdue = ended and self.now >= ended + timedelta(seconds=STOP_SECONDS)
        given_time = facts.stop_asked and overdue
        self.promise(not has_log or given_time, f"{ref} is deleted, and its log with it")

    def _scheduler_may_go(self, ref: ObjectRef, pod: Manifest, cluster: Manifest) -> None:
        self.promise(pod_facts(pod).ended, f"{ref} is deleted while it lives")
        annotations = metadata(cluster).get("annotations") or {}
        of_attempt = annotations.get(names.ANNOTATION_ON_SCHEDULER_LOSS) == "Fail"
        self.promise(not of_attempt, f"{ref} is replaced, but the job decides on its loss")

    def _cluster_may_go(self, ref: ObjectRef, cluster: Manifest, job: Manifest | None) -> None:
        if job is None or job["kind"] != names.Kind.JOB:
            return
        status = self._seen.get(metadata(job)["uid"], {})
        policy = status.get("policy") or {}
        if self._subject == ref.uid:
            owned = [o for o in self.store.all() if controller_uid(o) == metadata(job)["uid"]]
            used = any(o["kind"] == "Pod" and pod_facts(o).alive for o in owned)
            self.promise(not used, f"{ref} is deleted as idle while a runner uses it")
        elif status.get("jobStatus") in TERMINAL:
            side = "onSuccess" if status["jobStatus"] == "Successful" else "onFailure"
            wanted = policy["deletionPolicy"][side]
            self.promise(wanted == "DeleteCluster", f"{ref} is deleted against {side}: {wanted}")
        elif policy.get("failurePolicy", {}).get("restart") == "Runner":
            held = condition(status, "Suspended") == "True"
            self.promise(held, f"{ref} is deleted while the job continues with it")
        else:
            over = status.get("attempt", 0) > attempt_of(cluster)
            self.promise(over, f"{ref} is deleted before the end of its attempt is written")

    # Checks of every change, from any source

    def _witness(self, old: Manifest | None, new: Manifest | None) -> None:
        item = new or old or {}
        if self._subject and metadata(item)["uid"] in self.foreign:
            self.broken.append(f"a pass touched {object_ref(item)}, which is foreign")
        if new is None:
            return
        if old is None:
            if item["kind"] == "Pod" and metadata(item)["uid"] not in self.foreign:
                self._pod_was_created(item)
        elif item["kind"] == names.Kind.JOB and old.get("status") != new.get("status"):
            self._status_was_written(old.get("status") or {}, new)

    def _pod_was_created(self, pod: Manifest) -> None:
        owner = self._by_uid(controller_uid(pod))
        if owner is not None and owner["kind"] == names.Kind.JOB:
            uid, attempt = str(metadata(owner)["uid"]), attempt_of(pod)
            self.runners[uid, attempt] += 1
            again = self.runners[uid, attempt] > 1
            self.promise(not again, f"a second runner of attempt {attempt} was created")
            self.promise(len(self.live_runners(uid)) <= 1, "two runners of one job are alive")
        schedulers = [
            o
            for o in self.store.all(metadata(pod)["namespace"])
            if o["kind"] == "Pod" and _scheduler_of(o) and pod_facts(o).alive
        ]
        clusters = Counter(_scheduler_of(o) for o in schedulers)
        twice = [name for name, count in clusters.items() if count > 1]
        by_us = self._subject and _scheduler_of(pod)
        self.promise(not (by_us and twice), f"two schedulers of cluster {twice} are alive")

    def live_runners(self, job_uid: str) -> list[str]:
        """Return the names of a job's runners that may still run."""
        pods = [o for o in self.pods() if controller_uid(o) == job_uid]
        return [str(metadata(pod)["name"]) for pod in pods if pod_facts(pod).alive]

    def _status_was_written(self, old: Manifest, job: Manifest) -> None:
        new = job.get("status") or {}
        self.broken += status_faults(old, new, metadata(job)["generation"])
        uid, attempt = str(metadata(job)["uid"]), new.get("attempt", 0)
        if new.get("jobStatus") == "Successful":
            true = (uid, attempt) in self.succeeded
            self.promise(true, f"Successful, but the runner of attempt {attempt} never was")
        if self._owed is not None and self._owed[0] == uid:
            given_up = new.get("jobStatus") == "Failed" or attempt > self._owed[1]
            self.promise(
                not given_up, f"attempt {self._owed[1]} exited with code 0 and is not Successful"
            )
        ends = new.get("jobStatus") == "Failed" and old.get("jobStatus") != "Failed"
        if ends and new.get("reason") == Reason.CANCELLED:
            self.promise(self._cancel_seen, "Cancelled without a request")
        for ended in (new.get("attempts") or [])[len(old.get("attempts") or []) :]:
            if ended["reason"] in (Reason.EXIT_CODE, Reason.OOM_KILLED):
                true = (uid, ended["number"]) in self.failed
                self.promise(true, f"attempt {ended['number']} has {ended['reason']}, untrue")

    # Foreign objects

    def add_foreign(self, manifest: Manifest) -> Manifest:
        """Create an object that daskjob must not touch."""
        self._subject = ""
        item = self.store.create(self._with_uid(manifest))
        self.foreign[metadata(item)["uid"]] = copy.deepcopy(item)
        return item

    def check_foreign(self) -> None:
        """Check that every foreign object is unchanged."""
        for uid, before in self.foreign.items():
            now = self._by_uid(uid)
            self.promise(now == before, f"{object_ref(before)} is foreign and was changed or lost")

    # Actions of pods that the fake lacks

    def ends_by_itself(
        self, pod: Manifest, code: int, *, reason: str = "", message: str = ""
    ) -> None:
        """Let a pod's main container end by itself; a sidecar keeps running.

        The expected outcome of the job is recorded here.
        """
        facts = pod_facts(pod)
        here = (controller_uid(pod), attempt_of(pod))
        undisturbed = not (facts.stop_asked or facts.deleting or facts.disruption)
        if code == 0 and undisturbed:
            self.succeeded.add(here)
        elif code:
            self.failed.add(here)
        main = facts.main.name if facts.main else ""
        if len(pod["spec"]["containers"]) == 1:
            self.exit(pod, code, reason=reason, message=message)
            return
        ended = _terminated(code, self.now, reason=reason, message=message)
        self._end_containers(pod, {main: ended}, phase="Running")

    def is_killed(self, pod: Manifest, code: int, pod_reason: str) -> None:
        """End a pod from outside; a container that ended before keeps its end."""
        running = {
            str(container["name"]): _terminated(code, self.now)
            for container in pod["spec"]["containers"]
            if not _has_ended(pod, str(container["name"]))
        }
        self._end_containers(pod, running, phase="Failed", reason=pod_reason)

    def is_preempted(self, pod: Manifest) -> None:
        """Preempt a pod for one of higher priority: it has its grace period."""
        now = format_time(self.now)
        target = {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": now}
        target["reason"] = "PreemptionByScheduler"
        conditions = (pod.get("status") or {}).get("conditions") or []
        self._set(pod, conditions=[*conditions, target])
        self.store.delete(object_ref(pod))

    def _end_containers(self, pod: Manifest, ends: dict[str, Manifest], **status: object) -> None:
        old = {c["name"]: c for c in (pod.get("status") or {}).get("containerStatuses") or ()}
        statuses = []
        for container in pod["spec"]["containers"]:
            before = old.get(container["name"], {"name": container["name"]})
            end = ends.get(container["name"])
            after = {**before, "ready": False, "state": {"terminated": end}} if end else before
            statuses.append(after)
        self._set(pod, containerStatuses=statuses, **status)

    def kubelet_acts(self, code: int) -> None:
        """Let kubelets remove deleted pods, and stop those past their deadline."""
        for pod in self.pods():
            facts = pod_facts(pod)
            if facts.ref.uid in self.foreign:
                continue
            if facts.deleting:
                self.store.remove(facts.ref)
            elif facts.alive and facts.started_at and facts.active_deadline_seconds is not None:
                due = facts.started_at + timedelta(seconds=facts.active_deadline_seconds)
                if self.now >= due:
                    self.is_killed(pod, code, "DeadlineExceeded")

    def ours(self, *phases: str) -> list[Manifest]:
        """Return the pods that are not foreign, in one of these phases or any."""
        pods = [pod for pod in self.pods() if metadata(pod)["uid"] not in self.foreign]
        return [pod for pod in pods if not phases or pod_facts(pod).phase in phases]


def _end(status: Manifest) -> Manifest:
    """Return a status without what may change after the end: a new spec is acknowledged."""
    return {k: v for k, v in status.items() if k not in ("observedGeneration", "updatedAt")}


def status_faults(old: Manifest, new: Manifest, generation: int) -> Iterator[str]:
    """Yield the errors of one write of a DaskJob's status."""
    state, was = new.get("jobStatus"), old.get("jobStatus")
    if state not in STATES:
        yield f"jobStatus {state!r} is none of the five states"
    if was in TERMINAL and _end(old) != _end(new):
        yield f"the status was written after the terminal state {was}, which is now {state}"
    if (state in TERMINAL) is not ("endTime" in new):
        yield f"jobStatus {state} with endTime {new.get('endTime')}"
    if not old.get("observedGeneration", 0) <= new.get("observedGeneration", 0) <= generation:
        yield f"observedGeneration goes from {old.get('observedGeneration')} to {new}"
    size = len(json.dumps(new).encode())
    if size > STATUS_LIMIT_BYTES:
        yield f"the status has {size} bytes"
    yield from _time_faults(new, "status")
    yield from _count_faults(old, new)
    yield from _policy_faults(old, new)


def _time_faults(value: object, path: str) -> Iterator[str]:
    """Yield times that are not whole seconds with Z, and values that are null or empty."""
    if isinstance(value, dict):
        for key, below in value.items():
            if key in ("result", "report"):
                continue
            if key.endswith("Time") or key == "updatedAt":
                good = isinstance(below, str) and WHOLE_SECONDS.fullmatch(below)
                if not good or parse_time(below) is None:
                    yield f"{path}.{key} is {below!r}"
            elif below is None or (below == "" and key != "message"):
                yield f"{path}.{key} is {below!r}: absent, never null or empty"
            else:
                yield from _time_faults(below, f"{path}.{key}")
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from _time_faults(below, f"{path}[{index}]")


def _count_faults(old: Manifest, new: Manifest) -> Iterator[str]:
    policy = new.get("policy") or {}
    failures, limit = new.get("failures", 0), policy.get("backoffLimit", 0)
    if failures > limit + 1:
        yield f"{failures} failures with backoffLimit {limit}"
    ignored, most = new.get("ignored", 0), policy.get("failurePolicy", {}).get("maxIgnored", 0)
    if ignored > most:
        yield f"{ignored} failures were ignored with maxIgnored {most}"
    if new.get("attempt", 0) < old.get("attempt", 0):
        yield f"attempt goes from {old.get('attempt')} back to {new.get('attempt')}"
    numbers = [attempt["number"] for attempt in new.get("attempts", [])]
    if numbers != sorted(set(numbers)) or len(numbers) > 10:
        yield f"attempts has the numbers {numbers}"
    start, end = parse_time(new.get("startTime")), parse_time(new.get("endTime"))
    if start and end and end < start:
        yield f"endTime {end} is before startTime {start}"
    if has_started(new) and not new.get("attemptStartTime"):
        yield f"jobStatus {new.get('jobStatus')} between attempts"


def has_started(status: Manifest) -> bool:
    """Return whether ``jobStatus`` implies that an attempt has started."""
    return status.get("jobStatus") in ("ClusterCreated", "Running")


def _policy_faults(old: Manifest, new: Manifest) -> Iterator[str]:
    before, after = old.get("policy"), new.get("policy")
    if not after:
        yield "the policy is not frozen"
    if before and after:
        fixed = [{k: v for k, v in p.items() if k not in MUTABLE_POLICY} for p in (before, after)]
        if fixed[0] != fixed[1]:
            yield f"the frozen policy changed: {fixed[0]} became {fixed[1]}"
        lost = [key for key in MUTABLE_POLICY if key in before and key not in after]
        if lost:
            yield f"the frozen policy lost {lost}"


def is_finished(job: Manifest) -> bool:
    return (job.get("status") or {}).get("jobStatus") in TERMINAL


def _expired(job: Manifest, now: datetime) -> bool:
    status = job.get("status") or {}
    ttl = job["spec"].get("ttlSecondsAfterFinished")
    limit = ttl or (status.get("policy") or {}).get("ttlSecondsAfterFinished")
    end = parse_time(status.get("endTime"))
    return bool(limit and end and is_finished(job) and now >= end + timedelta(seconds=limit))


def condition(status: Manifest, kind: str) -> str:
    found = [c for c in status.get("conditions", []) if c["type"] == kind]
    return str(found[0]["status"]) if found else ""


def attempt_of(item: Manifest) -> int:
    """Return the attempt of a runner or cluster; objects of dask-kubernetes belong to attempt 0."""
    return int((metadata(item).get("annotations") or {}).get(names.ANNOTATION_ATTEMPT, 0))


def _controller(item: Manifest) -> Manifest:
    owners = metadata(item).get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), {})


def _owner_kind(item: Manifest) -> str:
    return str(_controller(item).get("kind", ""))


def _scheduler_of(pod: Manifest) -> str:
    """Return the name of the cluster whose scheduler a pod is, by its owner; empty if none."""
    owner = str(_controller(pod).get("name", ""))
    if _owner_kind(pod) == names.Kind.CLUSTER:
        return owner
    deployed = _owner_kind(pod) == "ReplicaSet" and "-scheduler-" in owner
    return owner.partition("-scheduler-")[0] if deployed else ""


def _terminated(code: int, now: datetime, *, reason: str = "", message: str = "") -> Manifest:
    why = reason or ("Completed" if code == 0 else "Error")
    return {"exitCode": code, "finishedAt": format_time(now), "reason": why, "message": message}


def _has_ended(pod: Manifest, container: str) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return any(s["name"] == container and "terminated" in s.get("state", {}) for s in statuses)
